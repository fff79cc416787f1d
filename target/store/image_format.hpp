// What kind of disk image a file is, judged by its own bytes: our check ahead of qemu-img, which
// must never be handed a file that would make it open another one. Only fixed headers are read.
// Threads: any.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.hpp"
#include "common/vmdk_descriptor.hpp"

namespace goldlink::store {

// Refuses a name that is not "", "raw", "iso", "vhd", "vhdx", "vmdk" or "qcow2".
Result<> check_format_name(std::string_view format);

using VhdId = std::array<std::uint8_t, 16>;

// A differencing VHD, read from its footer and header: what it changes of its parent.
struct VhdDifference {
    std::uint64_t table_offset_bytes = 0;
    std::uint32_t table_entries = 0;
    std::uint32_t block_bytes = 0;  // a power of two, 4 KiB to 64 MiB
    VhdId parent_id{};
};

// What the headers of an image file say.
struct ImageKind {
    std::string format;  // "raw", "iso", "vhd", "vhdx", "vmdk" or "qcow2"
    // Set when the file holds only changes: the parent's name as it stands in the file, unchecked,
    // and its format where the file says that ("" else).
    std::optional<std::string> parent;
    std::string parent_format;
    std::vector<VmdkExtent> extents;  // of a VMDK that is a text: the files beside it with the data
    std::uint64_t disk_bytes = 0;     // of a VHD or VMDK; 0: the headers read here do not say
    // What helps when the conversion finds it damaged and the headers say that it was not closed.
    std::string repair;
    VhdId vhd_id{};
    std::optional<VhdDifference> vhd_difference;
};

// Returns what the open file is: `format` itself after a check of its magic, or, when that
// is "", what the magic says. Refused, with the reason and the way out:
// - what check_importable() refuses: no disk image, one that is not read here, a raw disk that was
//   cut short, with "iso" what is none
// - a VHD that is cut short or whose tables do not fit its disk
// - a VHDX of 4096-byte sectors, or a differencing one
// - qcow2 that is marked corrupt, with an external data file or encryption
// - a VMDK that is one of several extents, or whose descriptor (a file's, or the one inside) is
//   malformed or contradicts the header
// `name` is for messages; its ending matters only to recognise a VHD that lost its footer.
Result<ImageKind> detect_format(int fd, const std::string& name, std::string_view format);

// "gzip", "bzip2", "zstd" or "xz" by the file's magic; "" for anything else.
Result<std::string> detect_compression(int fd, const std::string& name);

// "zip" or "tar" by the file's magic; "" for anything else.
Result<std::string> detect_archive(int fd, const std::string& name);

// The name qemu-img gives a format: "vpc" for "vhd".
std::string_view qemu_format(std::string_view format);

}  // namespace goldlink::store
