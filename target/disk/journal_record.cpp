#include "target/disk/journal_record.hpp"

#include <fmt/format.h>
#include <isa-l/crc.h>

#include <algorithm>

#include "common/bytes.hpp"

namespace goldlink::disk {

namespace {

constexpr std::string_view kMagic = "GLovrly\n";
constexpr std::uint32_t kOldestFormat = 1;
constexpr std::size_t kHeaderCrcAt = kJournalHeaderBytes - 4;

std::uint32_t check_of(const std::uint8_t* record, std::uint64_t index, std::uint32_t seed) {
    std::array<std::uint8_t, 25> bytes;
    std::memcpy(bytes.data(), record, 13);
    store_le64(bytes.data() + 13, index);
    store_le32(bytes.data() + 21, seed);
    return crc32c(bytes.data(), bytes.size()) & 0xffffffu;
}

std::string text_at(const std::uint8_t* bytes, std::size_t length) {
    const auto* end = std::find(bytes, bytes + length, std::uint8_t{0});
    return {bytes, end};
}

void put_text(std::uint8_t* bytes, std::size_t length, const std::string& text) {
    std::memcpy(bytes, text.data(), std::min(length, text.size()));
}

}  // namespace

std::uint32_t crc32c(const std::uint8_t* data, std::size_t length, std::uint32_t seed) {
    // isa-l takes a pointer to non-const and reads only.
    return ~crc32_iscsi(const_cast<unsigned char*>(data), static_cast<int>(length), ~seed);
}

std::array<std::uint8_t, kJournalHeaderBytes> JournalHeader::encode() const {
    std::array<std::uint8_t, kJournalHeaderBytes> bytes{};
    std::memcpy(bytes.data(), kMagic.data(), kMagic.size());
    store_le32(bytes.data() + 8, format);
    store_le32(bytes.data() + 12, policy);
    store_le64(bytes.data() + 16, size_bytes);
    store_le32(bytes.data() + 24, ram_slots);
    store_le32(bytes.data() + 28, seed);
    put_text(bytes.data() + 32, 64, version_digest);
    put_text(bytes.data() + 96, 40, boot_id);
    put_text(bytes.data() + 136, 48, journal_file);
    put_text(bytes.data() + 184, 48, slots_file);
    put_text(bytes.data() + 232, 64, owner);
    store_le32(bytes.data() + kHeaderCrcAt, crc32c(bytes.data(), kHeaderCrcAt));
    return bytes;
}

Result<JournalHeader> JournalHeader::decode(const std::uint8_t* bytes, const std::string& name) {
    if (as_text(Bytes(bytes, 8)) != kMagic)
        return failure(ErrorKind::corrupt,
                       fmt::format("{} does not begin as an overlay's journal", name));
    const std::uint32_t format = load_le32(bytes + 8);
    if (format < kOldestFormat || format > kJournalFormat)
        return failure(
            ErrorKind::invalid,
            fmt::format("{} has format {}, this program reads {}: start the program that wrote it",
                        name, format, kJournalFormat));
    if (load_le32(bytes + kHeaderCrcAt) != crc32c(bytes, kHeaderCrcAt))
        return failure(ErrorKind::corrupt, fmt::format("{} has a damaged header", name));
    JournalHeader header;
    header.format = format;
    header.policy = load_le32(bytes + 12);
    header.size_bytes = load_le64(bytes + 16);
    header.ram_slots = load_le32(bytes + 24);
    header.seed = load_le32(bytes + 28);
    header.version_digest = text_at(bytes + 32, 64);
    header.boot_id = text_at(bytes + 96, 40);
    header.journal_file = text_at(bytes + 136, 48);
    header.slots_file = text_at(bytes + 184, 48);
    header.owner = text_at(bytes + 232, 64);
    return header;
}

void Record::encode(std::uint8_t* bytes, std::uint64_t index, std::uint32_t seed) const {
    store_le32(bytes, block);
    store_le32(bytes + 4, slot);
    store_le32(bytes + 8, crc);
    bytes[12] = static_cast<std::uint8_t>(type);
    store_le32(bytes + 12, static_cast<std::uint32_t>(bytes[12]) | check_of(bytes, index, seed)
                                                                       << 8);
}

std::optional<Record> Record::decode(const std::uint8_t* bytes, std::uint64_t index,
                                     std::uint32_t seed) {
    const std::uint8_t type = bytes[12];
    if (type < 1 || type > 7 || load_le32(bytes + 12) >> 8 != check_of(bytes, index, seed))
        return std::nullopt;
    return Record{Type{type}, load_le32(bytes), load_le32(bytes + 4), load_le32(bytes + 8)};
}

}  // namespace goldlink::disk
