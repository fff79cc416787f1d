#include "common/image_magic.hpp"

#include <algorithm>

namespace goldlink {

namespace {

bool ends_with_nocase(std::string_view name, std::string_view ending) {
    if (name.size() < ending.size()) return false;
    name.remove_prefix(name.size() - ending.size());
    return std::equal(name.begin(), name.end(), ending.begin(),
                      [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a + 32 : a) == b; });
}

}  // namespace

bool has_magic(Bytes bytes, std::string_view magic, std::size_t at) {
    return bytes.size() >= at + magic.size() && as_text(bytes.subspan(at, magic.size())) == magic;
}

std::string_view image_magic(Bytes first, Bytes last, std::string_view name) {
    constexpr std::string_view kVhdCookie = "conectix";
    if (has_magic(first, "QFI\xfb")) return "qcow2";
    if (has_magic(first, "vhdxfile")) return "vhdx";
    if (has_magic(first, "KDMV") || has_magic(first, "COWD") ||
        has_magic(first, "# Disk Descriptor"))
        return "vmdk";
    if (has_magic(first, kVhdCookie) || has_magic(last, kVhdCookie) ||
        ends_with_nocase(name, ".vhd"))
        return "vhd";
    return "";
}

std::string_view compression_magic(Bytes first) {
    if (has_magic(first, "\x1f\x8b\x08")) return "gzip";                      // RFC 1952 2.3.1
    if (has_magic(first, "\x28\xb5\x2f\xfd")) return "zstd";                  // RFC 8878 3.1.1
    if (has_magic(first, std::string_view("\xfd\x37zXZ\0", 6))) return "xz";  // .xz format 2.1.1.1
    return "";
}

bool looks_like_a_disk(Bytes first) {
    if (has_magic(first, "EFI PART", 512) || has_magic(first, "EFI PART", 4096)) return true;
    return has_magic(first, "\x55\xaa", 510);
}

}  // namespace goldlink
