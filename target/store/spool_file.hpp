// SpoolFile: a file that is removed when this object goes, unless it was kept.
#pragma once

#include <filesystem>
#include <utility>

#include "common/result.hpp"

namespace goldlink::store {

class SpoolFile {
  public:
    explicit SpoolFile(std::filesystem::path path) : path_(std::move(path)) {}
    SpoolFile(SpoolFile&& other) noexcept : path_(std::exchange(other.path_, {})) {}
    SpoolFile& operator=(SpoolFile&&) = delete;
    ~SpoolFile();

    // Makes an empty file with a fresh name.
    static Result<SpoolFile> create(const std::filesystem::path& folder);

    const std::filesystem::path& path() const { return path_; }
    void keep() { path_.clear(); }

  private:
    std::filesystem::path path_;
};

}  // namespace goldlink::store
