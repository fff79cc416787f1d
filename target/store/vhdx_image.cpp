#include "target/store/vhdx_image.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include "common/bytes.hpp"
#include "common/image_magic.hpp"

namespace goldlink::store {

namespace {

using Guid =
    std::array<std::uint8_t, 16>;  // as it lies in the file: the first three parts reversed

// 2.2.3.1 and 2.6.2
constexpr Guid kMetadataRegion = {0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b,
                                  0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e};
constexpr Guid kFileParameters = {0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d,
                                  0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b};
constexpr Guid kLogicalSectorSize = {0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47,
                                     0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f};

constexpr std::size_t kTableBytes = 64 * 1024, kEntryBytes = 32, kMostEntries = 2047;

// The offset in the entry of this identifier, in a table of entries of 32 bytes that begin with
// one.
std::optional<std::uint64_t> find_entry(const std::vector<std::uint8_t>& table,
                                        std::size_t first_entry, std::size_t count,
                                        const Guid& wanted, bool wide_offset) {
    for (std::size_t i = 0; i < std::min(count, kMostEntries); ++i) {
        const std::size_t at = first_entry + i * kEntryBytes;
        if (at + kEntryBytes > table.size()) break;
        if (!std::equal(wanted.begin(), wanted.end(), table.data() + at)) continue;
        return wide_offset ? load_le64(table.data() + at + 16) : load_le32(table.data() + at + 16);
    }
    return std::nullopt;
}

// Where the metadata region is; of the two copies of the region table the first that is one.
Result<std::optional<std::uint64_t>> metadata_offset(const ImageFile& file) {
    for (const std::uint64_t at : {192U * 1024, 256U * 1024}) {
        GOLDLINK_TRY_ASSIGN(const auto table, file.read(at, kTableBytes));
        if (!has_magic(table, "regi")) continue;
        const auto found =
            find_entry(table, 16, load_le32(table.data() + 8), kMetadataRegion, true);
        if (found && *found < file.size_bytes) return found;
    }
    return std::optional<std::uint64_t>();
}

// 2.2.2: the header with the larger sequence number counts; its log is empty when it has no GUID.
Result<bool> has_log(const ImageFile& file) {
    bool log = false;
    std::uint64_t newest = 0;
    for (const std::uint64_t at : {64U * 1024, 128U * 1024}) {
        GOLDLINK_TRY_ASSIGN(const auto header, file.read(at, 4096));
        if (!has_magic(header, "head") || load_le64(header.data() + 8) < newest) continue;
        newest = load_le64(header.data() + 8);
        log = std::any_of(header.data() + 48, header.data() + 64,
                          [](std::uint8_t byte) { return byte != 0; });
    }
    return log;
}

}  // namespace

Result<> read_vhdx(const ImageFile& file, ImageKind& kind) {
    GOLDLINK_TRY_ASSIGN(const bool log, has_log(file));
    if (log)
        kind.repair =
            "It has a log to replay, as its virtual machine or host was not shut down: have "
            "Hyper-V do that (Mount-VHD, then Dismount-VHD), or qemu-img check -r all <file>";
    GOLDLINK_TRY_ASSIGN(const auto region, metadata_offset(file));
    if (!region) return {};
    GOLDLINK_TRY_ASSIGN(const auto table, file.read(*region, kTableBytes));
    if (!has_magic(table, "metadata")) return {};
    const std::size_t count = table[10] + 256u * table[11];
    const auto item = [&](const Guid& guid) -> Result<std::optional<std::vector<std::uint8_t>>> {
        const auto at = find_entry(table, 32, count, guid, false);
        if (!at) return std::optional<std::vector<std::uint8_t>>();
        GOLDLINK_TRY_ASSIGN(auto bytes, file.read(*region + *at, 8));
        return std::optional(std::move(bytes));
    };
    GOLDLINK_TRY_ASSIGN(const auto parameters, item(kFileParameters));
    constexpr std::uint32_t kHasParent = 2;
    if (parameters && (load_le32(parameters->data() + 4) & kHasParent) != 0)
        return refuse(file,
                      "is a differencing VHDX (a checkpoint's .avhdx?): it holds only what changed "
                      "since its parent. Merge it into that first (Hyper-V: delete the checkpoint, "
                      "or Merge-VHD; diskpart: merge vdisk), then import the parent");
    GOLDLINK_TRY_ASSIGN(const auto sector, item(kLogicalSectorSize));
    if (sector && load_le32(sector->data()) == 4096)
        return refuse(
            file,
            "is a VHDX of a disk with sectors of 4096 bytes (4Kn), which qemu-img does "
            "not read. Start its virtual machine from a Linux live disc and import the "
            "disk itself from there (goldlink image import <name> /dev/sda --delta), then "
            "serve it with --4kn");
    return {};
}

}  // namespace goldlink::store
