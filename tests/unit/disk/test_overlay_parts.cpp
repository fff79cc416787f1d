#include <catch2/catch.hpp>
#include <set>

#include "target/disk/journal_record.hpp"
#include "target/disk/overlay_map.hpp"
#include "target/disk/slot_allocator.hpp"

using namespace goldlink;
using namespace goldlink::disk;

TEST_CASE("slots come ascending, are reused, and end at the limit") {
    SlotAllocator slots(200);
    for (std::uint32_t i = 0; i < 200; ++i) CHECK(slots.take() == i);
    CHECK_FALSE(slots.take());
    for (const std::uint32_t slot : {150U, 3U, 64U, 65U}) slots.release(slot);
    CHECK(slots.taken() == 196);
    std::set<std::uint32_t> again;
    for (int i = 0; i < 4; ++i) again.insert(*slots.take());
    CHECK(again == std::set<std::uint32_t>{3, 64, 65, 150});
    CHECK_FALSE(slots.take());
}

TEST_CASE("replay marks slots taken in any order, once each") {
    SlotAllocator slots(1000);
    CHECK(slots.mark_taken(130));
    CHECK(slots.mark_taken(2));
    CHECK_FALSE(slots.mark_taken(130));
    CHECK_FALSE(slots.mark_taken(1000));
    CHECK(slots.taken() == 2);
    CHECK(slots.take() == 0U);
    CHECK(slots.take() == 1U);
    CHECK(slots.take() == 3U);
}

TEST_CASE("the map defaults to the base and keeps what is set") {
    OverlayMap map(5000);
    CHECK(map.leaf_count() == 5);
    CHECK(map.get(4999).is_base());
    map.set(1023, BlockState::in_slot(7));
    map.set(1024, BlockState::zero());
    map.set(2048, BlockState::base());
    CHECK(map.leaf_is_base(2));
    CHECK(map.get(1023).slot() == 7);
    CHECK(map.get(1022).is_base());
    CHECK(map.get(1024).is_zero());
    CHECK(map.get(1025).is_base());
}

TEST_CASE("a leaf of zeros is shared until a block of it is written") {
    OverlayMap map(4096);
    map.set_leaf_zero(1);
    map.set_leaf_zero(2);
    CHECK(map.get(1500).is_zero());
    map.set(1500, BlockState::in_slot(0));
    CHECK(map.get(1500).has_slot());
    CHECK(map.get(1501).is_zero());
    CHECK(map.get(2500).is_zero());
    CHECK(map.leaf_is_zero(2));
    CHECK_FALSE(map.leaf_is_zero(1));
    map.set_leaf_base(1);
    CHECK(map.get(1500).is_base());
}

TEST_CASE("records are valid in their own place of their own journal only") {
    std::uint8_t bytes[kRecordBytes];
    const Record record{Record::Type::write, 0x12345678, 42, 0xdeadbeef};
    record.encode(bytes, 1000, 7);
    const auto read = Record::decode(bytes, 1000, 7);
    REQUIRE(read);
    CHECK(read->block == record.block);
    CHECK(read->slot == record.slot);
    CHECK(read->crc == record.crc);
    CHECK(read->type == Record::Type::write);
    CHECK_FALSE(Record::decode(bytes, 1001, 7));
    CHECK_FALSE(Record::decode(bytes, 1000, 8));
    for (std::size_t bit = 0; bit < kRecordBytes * 8; ++bit) {
        bytes[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
        CHECK_FALSE(Record::decode(bytes, 1000, 7));
        bytes[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
    }
    const std::uint8_t zeros[kRecordBytes] = {};
    CHECK_FALSE(Record::decode(zeros, 0, 0));
    CHECK(Record::mark_of(0x123456789aULL).marked_index() == 0x123456789aULL);
}

TEST_CASE("a journal's header is read back, and a damaged or later one refused") {
    JournalHeader header;
    header.policy = 2;
    header.size_bytes = 12345 * 512;
    header.ram_slots = 99;
    header.seed = 0xabcdef;
    header.version_digest = std::string(64, 'd');
    header.boot_id = "0b3f3b6e-0000-4000-8000-000000000001";
    auto bytes = header.encode();
    const auto read = JournalHeader::decode(bytes.data(), "journal");
    REQUIRE(read);
    CHECK(read->format == kJournalFormat);
    CHECK(read->policy == 2);
    CHECK(read->size_bytes == header.size_bytes);
    CHECK(read->ram_slots == 99);
    CHECK(read->seed == header.seed);
    CHECK(read->version_digest == header.version_digest);
    CHECK(read->boot_id == header.boot_id);
    bytes[17] ^= 1;
    CHECK(JournalHeader::decode(bytes.data(), "journal").error().kind == ErrorKind::corrupt);
    bytes[17] ^= 1;
    bytes[8] = kJournalFormat + 1;
    CHECK(JournalHeader::decode(bytes.data(), "journal").error().kind == ErrorKind::invalid);
}

TEST_CASE("CRC32C is that of RFC 3720, appendix B.4") {
    const std::uint8_t zeros[32] = {};
    CHECK(crc32c(zeros, sizeof zeros) == 0x8a9136aa);
    std::uint8_t ascending[32];
    for (std::uint8_t i = 0; i < 32; ++i) ascending[i] = i;
    CHECK(crc32c(ascending, sizeof ascending) == 0x46dd794e);
}
