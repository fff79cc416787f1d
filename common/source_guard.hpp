// SourceGuard: a file that is read for an image stays as it is meanwhile, or no image is made: a
// mixture of before and after is a damaged disk that nobody notices. Threads: any.
#pragma once

#include <sys/stat.h>

#include <string>

#include "common/result.hpp"

namespace goldlink {

class SourceGuard {
  public:
    // Refuses a file that a virtual machine, or another program that locks what it writes, has open
    // for writing, and says which. `fd` must stay open as long as this is asked; `name` is for
    // messages.
    static Result<SourceGuard> begin(int fd, std::string name);
    // Refuses when the file was written to, grew or shrank since begin(). Of a block device only
    // its size tells.
    Result<> check() const;

  private:
    SourceGuard(int fd, std::string name) : fd_(fd), name_(std::move(name)) {}

    int fd_;
    std::string name_;
    struct stat begun_ {};
    std::int64_t bytes_ = 0;
};

}  // namespace goldlink
