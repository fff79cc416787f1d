// Unpacking a compressed disk image (gzip, bzip2, zstd, xz), or the one in an archive (zip, tar),
// into a sparse file. Debian's own programs read the data, in the sandbox and with nothing but that
// file and a pipe's end; we write what comes out, and stop it where it grows past its bounds.
// Threads: any; blocks.
#pragma once

#include <filesystem>
#include <string>

#include "target/store/image_store.hpp"

namespace goldlink::store {

struct UnpackLimits {
    std::uint64_t max_bytes = 2ull << 40;      // unpacked, zeros included
    std::uint64_t spare_bytes = 256ull << 20;  // left free on the filesystem
};

// Writes what the open file `fd` holds into the existing empty file `out`; blocks of zeros become
// holes. `compression` is detect_compression()'s answer. Adds the bytes unpacked to
// progress.done_bytes; how many there will be is not known.
Result<> unpack(int fd, const std::string& name, const std::string& compression,
                const std::filesystem::path& out, const UnpackLimits& limits, Progress& progress);

// The same of a file in an archive, which find_disk_in_archive() named; `archive` is
// detect_archive()'s answer.
Result<> extract(int fd, const std::string& name, const std::string& archive,
                 const std::string& member, const std::filesystem::path& out,
                 const UnpackLimits& limits, Progress& progress);

}  // namespace goldlink::store
