// Converting between disk image formats with qemu-img as a supervised, sandboxed child.
// detect_format() must have passed the files first. Threads: any; each call blocks.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "common/vmdk_descriptor.hpp"
#include "target/store/image_store.hpp"

namespace goldlink::store {

// One file of an image, and what it may open: nothing else can be opened by the conversion.
struct ImageLayer {
    std::filesystem::path file;
    std::string name;  // as the admin knows it
    std::string format;
    std::vector<VmdkExtent> extents{};  // of a VMDK that is a text; their files are paths
    std::uint64_t disk_bytes = 0;       // the size that qemu-img must find; 0: any
    std::string repair{};               // what may help when it is damaged; or ""
};

// Checks the image whose newest layer comes first, each the backing file of the one before it
// (consistency, no reference to other files, size), then writes the disk it holds to the existing
// empty file `raw`, sparse. Counts the conversion in progress, and the work after it as
// `later_bytes`, or as much again when that is 0.
Result<> convert_to_raw(const std::vector<ImageLayer>& layers, const std::filesystem::path& raw,
                        std::uint64_t later_bytes, Progress& progress);

// Writes the existing empty file `target` in `format` from `raw`. Adds size_bytes of progress.
Result<> convert_from_raw(const std::filesystem::path& raw, std::uint64_t size_bytes,
                          const std::filesystem::path& target, const std::string& format,
                          Progress& progress);

}  // namespace goldlink::store
