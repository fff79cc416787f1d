// What kind of disk image a file is, judged by its own bytes: our check ahead of qemu-img, which
// must never be handed a file that would make it open another one. Only fixed headers are read.
// Threads: any.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/result.hpp"

namespace goldlink::store {

// Refuses a name that is not "", "raw", "iso", "vhd", "vhdx", "vmdk" or "qcow2".
Result<> check_format_name(std::string_view format);

// Returns the format of the open file: `format` itself after a check of its magic, or, when that
// is "", what the magic says. Refused, with the reason and the way out:
// - a file that is no disk image: no known magic and no MBR or GPT signature
// - a VHD that is cut short; a differencing VHD, whose parent is not in the file
// - qcow2 with a backing file, an external data file or encryption
// - VMDK descriptors, whose data lies in other files
// - with "iso", a file without the volume descriptors of ISO 9660 or UDF; never detected by itself
// `name` is for messages; its ending matters only to recognise a VHD that lost its footer.
Result<std::string> detect_format(int fd, const std::string& name, std::string_view format);

// The name qemu-img gives a format: "vpc" for "vhd".
std::string_view qemu_format(std::string_view format);

}  // namespace goldlink::store
