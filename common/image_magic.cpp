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

// Frames to be skipped may come first (RFC 8878 3.1.2), and tools that unpack in parallel put one
// there. Where they lead past the bytes at hand, zstd's own program says what is behind them.
bool begins_as_zstd(Bytes first) {
    constexpr std::string_view kFrame = "\x28\xb5\x2f\xfd";  // RFC 8878 3.1.1
    constexpr std::uint32_t kSkippable = 0x184d2a50;
    constexpr std::size_t kHeaderBytes = 8;
    std::uint64_t at = 0;
    while (at + kHeaderBytes <= first.size() &&
           (load_le32(first.data() + at) & 0xfffffff0) == kSkippable)
        at += kHeaderBytes + load_le32(first.data() + at + 4);
    if (at == 0 || at < first.size()) return has_magic(first, kFrame, static_cast<std::size_t>(at));
    return true;
}

}  // namespace

bool has_magic(Bytes bytes, std::string_view magic, std::size_t at) {
    return bytes.size() >= at + magic.size() && as_text(bytes.subspan(at, magic.size())) == magic;
}

std::string_view image_magic(Bytes first, Bytes last, std::string_view name) {
    constexpr std::string_view kVhdCookie = "conectix";
    // Version 1 is another format, by the same magic.
    if (has_magic(first, "QFI\xfb") && !has_magic(first, std::string_view("\0\0\0\1", 4), 4))
        return "qcow2";
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
    if (has_magic(first, "\x1f\x8b\x08")) return "gzip";  // RFC 1952 2.3.1
    // "BZh", the block size, and the magic of the first block.
    if (has_magic(first, "BZh") && has_magic(first, "1AY&SY", 4)) return "bzip2";
    if (begins_as_zstd(first)) return "zstd";
    if (has_magic(first, std::string_view("\xfd\x37zXZ\0", 6))) return "xz";  // .xz format 2.1.1.1
    return "";
}

std::string_view archive_magic(Bytes first) {
    if (has_magic(first, "PK\x03\x04")) return "zip";  // APPNOTE 4.3.7
    if (has_magic(first, "ustar", 257)) return "tar";  // POSIX pax, "ustar Interchange Format"
    return "";
}

bool is_iso(Bytes first) {
    constexpr std::size_t kDescriptors = 16 * 2048;  // ECMA-119 8.1; ECMA-167 2/9
    return has_magic(first, "CD001", kDescriptors + 1) ||
           has_magic(first, "BEA01", kDescriptors + 1);
}

bool looks_like_a_disk(Bytes first) {
    if (has_magic(first, "EFI PART", 512) || has_magic(first, "EFI PART", 4096)) return true;
    return has_magic(first, "\x55\xaa", 510);
}

}  // namespace goldlink
