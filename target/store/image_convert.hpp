// Converting between disk image formats with qemu-img as a supervised, sandboxed child.
// detect_format() must have passed the file first. Threads: any; each call blocks.
#pragma once

#include <filesystem>
#include <string>

#include "target/store/image_store.hpp"

namespace goldlink::store {

// Checks `source` (consistency, no reference to other files, size), then writes the disk it holds
// to the existing empty file `raw`, sparse. Counts the conversion as half of progress.
Result<> convert_to_raw(const std::filesystem::path& source, const std::string& name,
                        const std::string& format, const std::filesystem::path& raw,
                        Progress& progress);

// Writes the existing empty file `target` in `format` from `raw`. Adds size_bytes of progress.
Result<> convert_from_raw(const std::filesystem::path& raw, std::uint64_t size_bytes,
                          const std::filesystem::path& target, const std::string& format,
                          Progress& progress);

// Refuses a name that is not a format we know.
Result<> check_format_name(std::string_view format);

}  // namespace goldlink::store
