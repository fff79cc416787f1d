// The boot files folder: what TFTP and HTTP hand out, and nothing else. One flat folder, read only.
// A name is a plain file name; folders, dot files and devices are refused, and so is a symlink that
// leaves the folder, but for the packaged boot programs: Debian ships ipxe.efi as a link to
// /boot/ipxe.efi. Threads: any.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <string>
#include <string_view>

#include "common/file.hpp"
#include "common/result.hpp"
#include "pxe/decide.hpp"

namespace goldlink::pxe {

struct BootFile {
    FileDescriptor fd;
    std::string path;  // resolved
    std::uint64_t bytes = 0;
};

class BootFiles {
  public:
    explicit BootFiles(std::filesystem::path folder) : folder_(std::move(folder)) {}

    // Errors: denied (a name that may not be), not_found, io.
    Result<BootFile> open(std::string_view name) const;
    // What open() would give, at most a second old.
    FileNames names() const;
    const std::filesystem::path& folder() const { return folder_; }

  private:
    FileNames scan() const;

    const std::filesystem::path folder_;
    mutable std::mutex mutex_;
    mutable FileNames names_;
    mutable std::chrono::steady_clock::time_point scanned_at_{};
};

// The names that may be: letters, digits and ". _ + -", not led by a dot, at most 100 bytes.
bool is_boot_file_name(std::string_view name);

}  // namespace goldlink::pxe
