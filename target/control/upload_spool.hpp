// UploadSpool: files on their way into the image store. A file is written beside its name and takes
// it when whole; blocks of zeroes become holes. A part of the filesystem is left free for overlays
// and the store's own index. Threads: any that may block.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "common/http/server.hpp"
#include "common/result.hpp"

namespace goldlink::control {

class UploadSpool {
  public:
    UploadSpool(std::filesystem::path folder, std::uint64_t reserve_bytes)
        : folder_(std::move(folder)), reserve_bytes_(reserve_bytes) {}

    Result<> open();  // makes the folder, removes what a killed upload left
    // Returns the length. On an error nothing is left behind, an earlier file of the name is
    // intact.
    Result<std::uint64_t> receive(std::string_view name, http::BodyReader& body);
    Result<> remove(std::string_view name);  // of a name that is not there: nothing to do
    Result<std::filesystem::path> find(std::string_view name) const;

  private:
    Result<> check_space(std::uint64_t coming_bytes) const;
    Result<std::uint64_t> copy(http::BodyReader& body, int fd) const;

    std::filesystem::path folder_;
    std::uint64_t reserve_bytes_;
};

// Free for us on the filesystem of `path`; 0 when it cannot be told.
std::uint64_t free_bytes_at(const std::filesystem::path& path);

}  // namespace goldlink::control
