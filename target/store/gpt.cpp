#include "target/store/gpt.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>

namespace goldlink::store {

namespace {

constexpr char kSignature[] = "EFI PART";
constexpr std::size_t kSmallestHeader = 92, kSmallestEntry = 128;
constexpr std::uint64_t kMostEntryBytes = 1 << 20;

// Offsets within the header (UEFI 2.10, table 5.5).
enum : std::size_t {
    kHeaderSize = 12,
    kHeaderCrc = 16,
    kMyLba = 24,
    kAlternateLba = 32,
    kFirstUsableLba = 40,
    kLastUsableLba = 48,
    kEntriesLba = 72,
    kEntryCount = 80,
    kEntrySize = 84,
    kEntriesCrc = 88,
};
// Offsets within a partition record of an MBR (table 5.3).
enum : std::size_t { kMbrType = 4, kMbrStart = 8, kMbrSize = 12 };
constexpr std::size_t kMbrRecords = 446, kMbrRecordBytes = 16, kMbrBytes = 512;
constexpr std::uint8_t kProtective = 0xee;

template <typename Number>
Number get(const std::vector<std::uint8_t>& bytes, std::size_t at) {
    Number number = 0;
    for (std::size_t i = sizeof(Number); i-- > 0;)
        number = static_cast<Number>(static_cast<Number>(number << 8) | bytes[at + i]);
    return number;
}

template <typename Number>
void put(std::vector<std::uint8_t>& bytes, std::size_t at, Number number) {
    for (std::size_t i = 0; i < sizeof(Number); ++i)
        bytes[at + i] = static_cast<std::uint8_t>(number >> (8 * i));
}

// CRC-32 (ISO 3309, reflected 0x04C11DB7), which the table asks for; a few KiB at a time.
std::uint32_t crc32(const std::uint8_t* data, std::size_t length) {
    std::uint32_t crc = 0xffffffffu;
    for (std::size_t i = 0; i < length; ++i) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

std::uint32_t header_crc(std::vector<std::uint8_t> header) {
    put<std::uint32_t>(header, kHeaderCrc, 0);
    return crc32(header.data(), get<std::uint32_t>(header, kHeaderSize));
}

bool is_header(const std::vector<std::uint8_t>& block) {
    return std::memcmp(block.data(), kSignature, 8) == 0;
}

Failure damaged(std::string_view what) {
    return failure(ErrorKind::invalid,
                   fmt::format("the disk's partition table (GPT) is damaged: {}; mend it first, "
                               "for example with gdisk on a super link, and commit",
                               what));
}

struct Table {
    std::uint64_t block_bytes = 0;
    std::vector<std::uint8_t> header;   // a block
    std::vector<std::uint8_t> entries;  // whole blocks
};

// The primary table, checked; none when the disk has none.
Result<std::optional<Table>> read_table(const ReadDisk& read, std::uint64_t disk_bytes) {
    for (const std::uint64_t block_bytes : {std::uint64_t{512}, std::uint64_t{4096}}) {
        if (disk_bytes < 6 * block_bytes) continue;
        Table table{block_bytes, std::vector<std::uint8_t>(block_bytes), {}};
        GOLDLINK_TRY(read(block_bytes, table.header.data(), block_bytes));
        if (!is_header(table.header)) continue;
        const auto header_bytes = get<std::uint32_t>(table.header, kHeaderSize);
        if (header_bytes < kSmallestHeader || header_bytes > block_bytes ||
            header_crc(table.header) != get<std::uint32_t>(table.header, kHeaderCrc))
            return damaged("its header's checksum is wrong");
        const std::uint64_t entry_bytes = get<std::uint32_t>(table.header, kEntrySize);
        const std::uint64_t length = entry_bytes * get<std::uint32_t>(table.header, kEntryCount);
        const auto entries_lba = get<std::uint64_t>(table.header, kEntriesLba);
        if (get<std::uint64_t>(table.header, kMyLba) != 1 || entry_bytes < kSmallestEntry ||
            length == 0 || length > kMostEntryBytes || entries_lba < 2 ||
            entries_lba > disk_bytes / block_bytes ||
            entries_lba * block_bytes + length > disk_bytes)
            return damaged("its header says what cannot be");
        const std::uint64_t blocks = (length + block_bytes - 1) / block_bytes;
        if ((entries_lba + blocks) * block_bytes > disk_bytes)
            return damaged("its entries end past the disk");
        table.entries.resize(blocks * block_bytes);
        GOLDLINK_TRY(read(entries_lba * block_bytes, table.entries.data(), table.entries.size()));
        if (crc32(table.entries.data(), length) != get<std::uint32_t>(table.header, kEntriesCrc))
            return damaged("its entries' checksum is wrong");
        return table;
    }
    return std::optional<Table>();
}

// What stands where the backup was; nothing when no backup does.
Result<> drop_old_backup(const ReadDisk& read, const Table& table, std::uint64_t old_bytes,
                         std::vector<DiskPatch>& patches) {
    const std::uint64_t block_bytes = table.block_bytes, blocks = old_bytes / block_bytes;
    const auto at = get<std::uint64_t>(table.header, kAlternateLba);
    if (at < 2 || at >= blocks) return {};
    std::vector<std::uint8_t> backup(block_bytes);
    GOLDLINK_TRY(read(at * block_bytes, backup.data(), block_bytes));
    if (!is_header(backup)) return {};
    patches.push_back({at * block_bytes, std::vector<std::uint8_t>(block_bytes)});
    // Its entries too where they are nobody else's: past what partitions may use.
    const auto entries = get<std::uint64_t>(backup, kEntriesLba);
    const std::uint64_t length = table.entries.size();
    if (entries > get<std::uint64_t>(table.header, kLastUsableLba) && entries < at &&
        length / block_bytes <= at - entries)
        patches.push_back({entries * block_bytes, std::vector<std::uint8_t>(length)});
    return {};
}

// The protective record covers the disk, as far as 32 bits say.
Result<> grow_protective_mbr(const ReadDisk& read, const Table& table, std::uint64_t old_bytes,
                             std::uint64_t new_bytes, std::vector<DiskPatch>& patches) {
    std::vector<std::uint8_t> mbr(kMbrBytes);
    GOLDLINK_TRY(read(0, mbr.data(), mbr.size()));
    if (mbr[510] != 0x55 || mbr[511] != 0xaa) return {};
    const std::uint64_t last_before = old_bytes / table.block_bytes - 1;
    const std::uint64_t last = new_bytes / table.block_bytes - 1;
    bool changed = false;
    for (std::size_t i = 0; i < 4; ++i) {
        const std::size_t at = kMbrRecords + i * kMbrRecordBytes;
        // A smaller one is a hybrid table's, which covers the header alone.
        if (mbr[at + kMbrType] != kProtective || get<std::uint32_t>(mbr, at + kMbrStart) != 1 ||
            get<std::uint32_t>(mbr, at + kMbrSize) <
                std::min<std::uint64_t>(last_before, 0xffffffff))
            continue;
        put(mbr, at + kMbrSize,
            static_cast<std::uint32_t>(std::min<std::uint64_t>(last, 0xffffffff)));
        changed = true;
    }
    if (changed) patches.push_back({0, std::move(mbr)});
    return {};
}

}  // namespace

Result<std::vector<DiskPatch>> grow_gpt(const ReadDisk& read, std::uint64_t old_bytes,
                                        std::uint64_t new_bytes) {
    std::vector<DiskPatch> patches;
    GOLDLINK_TRY_ASSIGN(auto found, read_table(read, old_bytes));
    if (!found) return patches;
    Table& table = *found;
    GOLDLINK_TRY(drop_old_backup(read, table, old_bytes, patches));
    GOLDLINK_TRY(grow_protective_mbr(read, table, old_bytes, new_bytes, patches));

    const std::uint64_t last = new_bytes / table.block_bytes - 1;
    const std::uint64_t backup_entries = last - table.entries.size() / table.block_bytes;
    put(table.header, kAlternateLba, last);
    put(table.header, kLastUsableLba, backup_entries - 1);
    std::vector<std::uint8_t> backup = table.header;
    put(table.header, kHeaderCrc, header_crc(table.header));
    put(backup, kMyLba, last);
    put(backup, kAlternateLba, std::uint64_t{1});
    put(backup, kEntriesLba, backup_entries);
    put(backup, kHeaderCrc, header_crc(backup));
    patches.push_back({table.block_bytes, std::move(table.header)});
    patches.push_back({backup_entries * table.block_bytes, std::move(table.entries)});
    patches.push_back({last * table.block_bytes, std::move(backup)});
    return patches;
}

}  // namespace goldlink::store
