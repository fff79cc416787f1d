// ServerPaths: which files of this machine an admin without a shell on it may import: those in the
// folders that --import-dir names, and below them. A symbolic link on the way is refused, so that
// nothing leads out. Threads: any.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "common/result.hpp"

namespace goldlink::control {

class ServerPaths {
  public:
    explicit ServerPaths(std::vector<std::filesystem::path> folders)
        : folders_(std::move(folders)) {}

    // Succeeds when `path` is a regular file of an allowed folder; else says what is allowed.
    Result<std::filesystem::path> check(const std::string& path) const;

  private:
    std::vector<std::filesystem::path> folders_;
};

}  // namespace goldlink::control
