#include "common/image_verdict.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "common/foreign_files.hpp"
#include "common/image_magic.hpp"
#include "common/partition_claim.hpp"

namespace goldlink {

namespace {

Failure refuse(const FileLook& look, std::string_view why) {
    return failure(ErrorKind::invalid, fmt::format("{} {}", look.name, why));
}

bool is_text(Bytes bytes) {
    return !bytes.empty() && std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t byte) {
        return (byte >= 0x20 && byte != 0x7f) || byte == '\n' || byte == '\r' || byte == '\t';
    });
}

// Whether it could be a disk without a partition table: one file system, or encrypted, or empty.
bool may_be_raw(const FileLook& look) {
    constexpr std::uint64_t kLeastBytes = 1 << 20;
    return look.size_bytes % 512 == 0 && look.size_bytes >= kLeastBytes && !is_text(look.first);
}

// The bytes known so far say nothing either way, and there are more to come.
bool is_undecided(const FileLook& look) {
    return !look.last && std::all_of(look.first.begin(), look.first.end(),
                                     [](std::uint8_t byte) { return byte == 0; });
}

Result<> check_raw(const FileLook& look) {
    if (const ForeignFile* foreign = foreign_file(look.first, look.last.value_or(Bytes())))
        return refuse(
            look, fmt::format("is {}, which is not read here: {}", foreign->what, foreign->todo));
    if (is_iso(look.first))
        return refuse(look,
                      "is the image of a disc: import it with format iso, so that links serve it "
                      "as a CD-ROM. If it is to be a hard disk all the same, say so with format "
                      "raw");
    if (!looks_like_a_disk(look.first)) {
        if (is_undecided(look)) return {};
        return refuse(look,
                      fmt::format("is no disk image: it has no VHD, VHDX, VMDK or qcow2 header and "
                                  "no partition table (MBR or GPT){}",
                                  may_be_raw(look) ? ". If it is a raw disk all the same, say so "
                                                     "with format raw"
                                                   : ""));
    }
    if (const auto claim = partition_claim(look.first); claim.disk_bytes > look.size_bytes)
        return refuse(
            look, fmt::format("was cut short: its partition table is of a disk of {} bytes, and it "
                              "has {}. Copy it again; to take it as it is, say so with format raw",
                              claim.disk_bytes, look.size_bytes));
    return {};
}

}  // namespace

Result<> check_importable(const FileLook& look, std::string_view format) {
    if (format == "raw" || !compression_magic(look.first).empty() ||
        !archive_magic(look.first).empty())
        return {};
    if (format == "iso") {
        if (is_iso(look.first)) return {};
        return refuse(look,
                      "is no ISO image: it has no volume descriptor of ISO 9660 or UDF. If it is a "
                      "disk, leave the format out");
    }
    const std::string_view found = image_magic(look.first, look.last.value_or(Bytes()), look.name);
    // A fixed VHD begins as the disk it holds.
    if (format == "vhd" && found.empty()) return {};
    if (!format.empty() && found != format)
        return refuse(look,
                      fmt::format("is not {}: {}", format,
                                  found.empty() ? "it does not begin as one"
                                                : fmt::format("it is {} by its magic", found)));
    return found.empty() ? check_raw(look) : Result<>();
}

}  // namespace goldlink
