#include "target/store/image_format.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include "common/bytes.hpp"
#include "common/file.hpp"
#include "common/image_magic.hpp"
#include "common/image_verdict.hpp"
#include "common/manifest.hpp"
#include "target/store/image_file.hpp"
#include "target/store/vhdx_image.hpp"
#include "target/store/vmdk_image.hpp"

namespace goldlink::store {

namespace {

// ---- VHD: "Virtual Hard Disk Image Format Specification", 2006. Footer 512 bytes, big endian.
constexpr std::string_view kVhdCookie = "conectix";
constexpr std::uint32_t kVhdFixed = 2, kVhdDynamic = 3, kVhdDifferencing = 4;

bool vhd_checksum_ok(const std::vector<std::uint8_t>& footer) {
    std::uint32_t sum = 0;  // one's complement of the sum of all bytes but the checksum's own
    for (std::size_t i = 0; i < kSectorBytes; ++i)
        if (i < 64 || i >= 68) sum += footer[i];
    return ~sum == load_be32(footer.data() + 64);
}

VhdId vhd_id_at(const std::vector<std::uint8_t>& bytes, std::size_t offset) {
    VhdId id;
    std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset), id.size(), id.begin());
    return id;
}

// The parent's name as the dynamic disk header has it (UTF-16, big endian), printable part only;
// the parent is known by its identifier.
Result<> read_vhd_difference(const ImageFile& file, std::uint64_t header_offset, ImageKind& kind) {
    GOLDLINK_TRY_ASSIGN(const auto header, file.read(header_offset, 1024));
    if (!has_magic(header, "cxsparse"))
        return refuse(file, "is a differencing VHD whose header is damaged");
    std::string name;
    for (std::size_t i = 64; i + 1 < 64 + 512; i += 2) {
        const std::uint16_t unit = load_be16(header.data() + i);
        if (unit == 0) break;
        name.push_back(unit >= 0x20 && unit < 0x7f ? static_cast<char>(unit) : '?');
    }
    VhdDifference difference;
    difference.table_offset_bytes = load_be64(header.data() + 16);
    difference.table_entries = load_be32(header.data() + 28);
    difference.block_bytes = load_be32(header.data() + 32);
    difference.parent_id = vhd_id_at(header, 40);
    constexpr std::uint32_t kMinBlockBytes = 4096, kMaxBlockBytes = 64 << 20;
    const std::uint64_t table_bytes = std::uint64_t{difference.table_entries} * 4;
    if (difference.block_bytes < kMinBlockBytes || difference.block_bytes > kMaxBlockBytes ||
        (difference.block_bytes & (difference.block_bytes - 1)) != 0 ||
        kind.disk_bytes > std::uint64_t{difference.table_entries} * difference.block_bytes ||
        difference.table_offset_bytes > file.size_bytes ||
        table_bytes > file.size_bytes - difference.table_offset_bytes)
        return refuse(file, "is a differencing VHD whose block table does not fit its disk");
    kind.parent = std::move(name);
    kind.parent_format = "vhd";
    kind.vhd_difference = difference;
    return {};
}

Result<> read_vhd(const ImageFile& file, const std::vector<std::uint8_t>& first,
                  const std::vector<std::uint8_t>& last, ImageKind& kind) {
    const bool copy = has_magic(first, kVhdCookie), footer = has_magic(last, kVhdCookie);
    if (!footer && copy)
        return refuse(file,
                      fmt::format("is a VHD that was cut short: the footer that ends it is missing "
                                  "after {} bytes; copy the file again",
                                  file.size_bytes));
    if (!footer)
        return refuse(file,
                      "has no VHD footer in its last 512 bytes: it was cut short or is no VHD");
    if (!vhd_checksum_ok(last)) return refuse(file, "is a VHD whose footer has a wrong checksum");
    const std::uint32_t type = load_be32(last.data() + 60);
    const std::uint64_t current_size = load_be64(last.data() + 48);
    if (current_size == 0 || current_size > kMaxDiskBytes)
        return refuse(file, fmt::format("is a VHD of {} bytes, a disk has 1 to {}", current_size,
                                        kMaxDiskBytes));
    kind.disk_bytes = current_size;
    kind.vhd_id = vhd_id_at(last, 68);
    if (type == kVhdDifferencing)
        return read_vhd_difference(file, load_be64(last.data() + 16), kind);
    if (type != kVhdFixed && type != kVhdDynamic)
        return refuse(file, fmt::format("is a VHD of the unknown type {}", type));
    if (type == kVhdFixed && file.size_bytes < current_size + kSectorBytes)
        return refuse(file, fmt::format("is a fixed VHD that was cut short: {} bytes of {}",
                                        file.size_bytes, current_size + kSectorBytes));
    if (type == kVhdDynamic && !copy)
        return refuse(file,
                      "is a dynamic VHD whose header is damaged: the footer's copy at its "
                      "beginning is missing");
    return {};
}

// ---- qcow2: docs/interop/qcow2.txt of QEMU; big endian.
// The backing file's format, where a header extension names one that we know; else "".
Result<std::string> qcow2_backing_format(const ImageFile& file,
                                         const std::vector<std::uint8_t>& first,
                                         std::uint32_t version) {
    constexpr std::uint32_t kBackingFormat = 0xe2792aca, kEnd = 0;
    const std::uint32_t header_bytes = version == 2 ? 72 : load_be32(first.data() + 100);
    // Extensions lie within the first cluster; what is past the bytes looked at is not ours.
    GOLDLINK_TRY_ASSIGN(const auto bytes, file.read(0, 64 * 1024));
    for (std::uint64_t at = header_bytes; at + 8 <= bytes.size();) {
        const std::uint32_t type = load_be32(bytes.data() + at);
        const std::uint64_t length = load_be32(bytes.data() + at + 4);
        if (type == kEnd || length > bytes.size() - at - 8) break;
        if (type == kBackingFormat) {
            const std::string format(
                as_text(Bytes(bytes).subspan(static_cast<std::size_t>(at) + 8, length)));
            if (format == "vpc") return std::string("vhd");
            return check_format_name(format) ? format : std::string();
        }
        at += 8 + (length + 7) / 8 * 8;
    }
    return std::string();
}

Result<> read_qcow2(const ImageFile& file, const std::vector<std::uint8_t>& first,
                    ImageKind& kind) {
    const std::uint32_t version = load_be32(first.data() + 4);
    if (version != 2 && version != 3)
        return refuse(file,
                      fmt::format("is qcow of version {}, only 2 and 3 can be read. Convert it "
                                  "first: qemu-img convert -O qcow2 <file> <new file>",
                                  version));
    if (const std::uint64_t offset = load_be64(first.data() + 8); offset != 0) {
        const std::uint32_t length = std::min<std::uint32_t>(load_be32(first.data() + 16), 1023);
        GOLDLINK_TRY_ASSIGN(const auto backing, file.read(offset, length));
        kind.parent = std::string(as_text(backing));
        GOLDLINK_TRY_ASSIGN(kind.parent_format, qcow2_backing_format(file, first, version));
    }
    if (load_be32(first.data() + 32) != 0)
        return refuse(file, "is encrypted; decrypt it first with qemu-img convert");
    if (version == 2) return {};
    constexpr std::uint64_t kDirty = 1, kCorrupt = 2, kExternalDataFile = 4;
    const std::uint64_t features = load_be64(first.data() + 72);  // the incompatible ones
    if ((features & kExternalDataFile) != 0)
        return refuse(file,
                      "keeps its data in another file, which an import never opens. Make it whole "
                      "first: qemu-img convert -O qcow2 <file> <new file>");
    if ((features & kCorrupt) != 0)
        return refuse(file,
                      "is marked as corrupt by QEMU. Repair a copy of it, and look what it lost: "
                      "qemu-img check -r all <file>");
    if ((features & kDirty) != 0)
        kind.repair =
            "It was not closed, as its virtual machine was killed, and its reference counts are "
            "behind: bring them up to date with qemu-img check -r all <file>";
    return {};
}

}  // namespace

Result<> check_format_name(std::string_view format) {
    for (const std::string_view known : {"", "raw", "iso", "vhd", "vhdx", "vmdk", "qcow2"})
        if (format == known) return {};
    return failure(
        ErrorKind::invalid,
        fmt::format("\"{}\" is no disk image format known here: raw, iso, vhd, vhdx, vmdk or qcow2",
                    format));
}

std::string_view qemu_format(std::string_view format) { return format == "vhd" ? "vpc" : format; }

Result<std::string> detect_compression(int fd, const std::string& name) {
    GOLDLINK_TRY_ASSIGN(const ImageFile file, examine_image(fd, name));
    GOLDLINK_TRY_ASSIGN(const auto first, file.read(0, kMagicFirstBytes));
    return std::string(compression_magic(first));
}

Result<std::string> detect_archive(int fd, const std::string& name) {
    GOLDLINK_TRY_ASSIGN(const ImageFile file, examine_image(fd, name));
    GOLDLINK_TRY_ASSIGN(const auto first, file.read(0, kMagicFirstBytes));
    return std::string(archive_magic(first));
}

Result<ImageKind> detect_format(int fd, const std::string& name, std::string_view format) {
    GOLDLINK_TRY(check_format_name(format));
    GOLDLINK_TRY_ASSIGN(const ImageFile file, examine_image(fd, name));
    ImageKind kind;
    kind.format = format;
    if (format == "raw") return kind;

    GOLDLINK_TRY_ASSIGN(const auto first, file.read(0, kMagicFirstBytes));
    GOLDLINK_TRY_ASSIGN(
        const auto last,
        file.read(file.size_bytes - std::min(file.size_bytes, kSectorBytes), kMagicLastBytes));
    // What an import unpacks by itself is unpacked by now: this is within it, or another file.
    for (const std::string_view wrapper : {compression_magic(first), archive_magic(first)})
        if (!wrapper.empty())
            return refuse(file, fmt::format("is packed ({}): unpack it first", wrapper));
    GOLDLINK_TRY(check_importable({name, file.size_bytes, first, last}, format));
    if (format.empty()) kind.format = image_magic(first, last, name);
    if (kind.format.empty()) kind.format = "raw";
    if (kind.format == "vhd") GOLDLINK_TRY(read_vhd(file, first, last, kind));
    if (kind.format == "vhdx") GOLDLINK_TRY(read_vhdx(file, kind));
    if (kind.format == "qcow2") GOLDLINK_TRY(read_qcow2(file, first, kind));
    if (kind.format == "vmdk") GOLDLINK_TRY(read_vmdk(file, first, kind));
    return kind;
}

}  // namespace goldlink::store
