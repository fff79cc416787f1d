// The state folder D of ARCHITECTURE.md: made, checked, locked. One `goldlink up` at a time holds
// it.
#pragma once

#include <filesystem>

#include "common/file.hpp"
#include "common/result.hpp"

namespace goldlink::up {

class StateDir {
  public:
    // Makes the folder and its sub-folders, and takes the lock. Errors: not writable, too long a
    // path for unix sockets, another `up` runs on it (its pid is named).
    static Result<StateDir> open(const std::filesystem::path& path);

    const std::filesystem::path& path() const { return path_; }
    // Whether an earlier `up` served from it: then what is there is to be served, whatever else
    // fails. A first start may refuse instead.
    bool used() const { return used_; }
    std::filesystem::path run() const { return path_ / "run"; }
    std::filesystem::path socket(const char* name) const { return run() / name; }
    std::filesystem::path admin_token() const { return path_ / "admin.token"; }
    std::filesystem::path child_records() const { return run() / "children"; }

  private:
    std::filesystem::path path_;
    bool used_ = false;
    FileDescriptor lock_;
};

}  // namespace goldlink::up
