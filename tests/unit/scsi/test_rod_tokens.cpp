// ROD tokens: POPULATE TOKEN, WRITE USING TOKEN, RECEIVE ROD TOKEN INFORMATION, as Windows'
// offloaded data transfer uses them.
#include <functional>
#include <map>

#include "common/hex.hpp"
#include "tests/unit/scsi/copy_rig.hpp"

using namespace goldlink;
using namespace goldlink::scsi;
using namespace goldlink::scsi::testing;

namespace {

using Buffer = std::vector<std::uint8_t>;
using Ranges = std::vector<std::pair<std::uint64_t, std::uint32_t>>;

constexpr std::uint64_t kMiB = 1 << 20;

void add_ranges(Buffer& list, const Ranges& ranges) {
    for (const auto& [lba, blocks] : ranges) {
        const std::size_t at = list.size();
        list.resize(at + 16);
        store_be64(&list[at], lba);
        store_be32(&list[at + 8], blocks);
    }
    store_be16(&list[0], static_cast<std::uint16_t>(list.size() - 2));
}

Buffer populate_list(const Ranges& ranges, std::uint32_t inactivity = 0) {
    Buffer list(16);
    store_be32(&list[4], inactivity);
    store_be16(&list[14], static_cast<std::uint16_t>(ranges.size() * 16));
    add_ranges(list, ranges);
    return list;
}

Buffer write_list(const Buffer& token, const Ranges& ranges, std::uint64_t offset = 0,
                  unsigned flags = 0) {
    Buffer list(536);
    list[2] = static_cast<std::uint8_t>(flags);
    store_be64(&list[8], offset);
    std::ranges::copy(token, list.begin() + 16);
    store_be16(&list[534], static_cast<std::uint16_t>(ranges.size() * 16));
    add_ranges(list, ranges);
    return list;
}

Buffer zero_token() {
    Buffer token(512);
    store_be32(&token[0], 0xFFFF0001);
    store_be16(&token[6], 0x1F8);
    return token;
}

Command& populate(CopyRig& rig, const Buffer& list, std::uint64_t lun = 0, std::uint32_t id = 1) {
    return rig.finish(copy_out(0x10, id, list.size()), list, lun);
}
Command& write_using(CopyRig& rig, const Buffer& list, std::uint64_t lun = 0,
                     std::uint32_t id = 2) {
    return rig.finish(copy_out(0x11, id, list.size()), list, lun);
}

struct Information {
    unsigned action, status, completion, units;
    std::uint64_t transferred;
    Buffer sense, token;
};
Information information(CopyRig& rig, std::uint32_t id) {
    Command& command = rig.run(copy_in(0x07, id));
    REQUIRE(command.good());
    const Buffer raw = copy(command.data_in());
    REQUIRE(raw.size() >= 36);
    REQUIRE(load_be32(&raw[0]) == raw.size() - 4);
    Information out{raw[4], raw[5], raw[12], raw[15], load_be64(&raw[16]), {}, {}};
    const std::size_t sense_length = raw[13];
    REQUIRE(raw[14] <= sense_length);
    REQUIRE(raw.size() >= 36 + sense_length);
    out.sense.assign(raw.begin() + 32, raw.begin() + 32 + raw[14]);
    const std::size_t at = 32 + sense_length;
    REQUIRE(load_be32(&raw[at]) == raw.size() - at - 4);
    if (raw.size() > at + 6)
        out.token.assign(raw.begin() + static_cast<std::ptrdiff_t>(at + 6), raw.end());
    return out;
}

Buffer token_of(CopyRig& rig, const Ranges& ranges, std::uint64_t lun = 0, std::uint32_t id = 1) {
    REQUIRE(populate(rig, populate_list(ranges), lun, id).good());
    Buffer token = information(rig, id).token;
    REQUIRE(token.size() == 512);
    return token;
}

void fill_all(CopyRig& rig) {
    for (std::size_t unit = 0; unit < 3; ++unit)
        rig.fill(unit, 0, CopyRig::kBytes, static_cast<std::uint32_t>(unit + 7));
}

}  // namespace

TEST_CASE("a token is 512 bytes with the fields of the standard and a secret") {
    CopyRig rig;
    const Buffer token = token_of(rig, {{16, 100}, {300, 28}});
    CHECK(to_hex(Bytes(token).first(8)) == "00800001000001f8");
    CHECK(to_hex(Bytes(token).subspan(16, 32)) ==
          "e4000000"
          "01030008"
          "3123456789abcdef"
          "000000000000000000000000"
          "00000200");
    CHECK(load_be64(&token[56]) == 128 * 512);
    CHECK(load_be32(&token[96]) == 512);
    CHECK(token[101] == 3);
    const Buffer other = token_of(rig, {{16, 100}, {300, 28}}, 0, 5);
    CHECK(Buffer(token.begin() + 128, token.begin() + 192) !=
          Buffer(other.begin() + 128, other.begin() + 192));
    const Information told = information(rig, 1);
    CHECK(told.action == 0x10);
    CHECK(told.status == 0x01);
    CHECK(told.completion == 0);
    CHECK(told.units == 0xF1);
    CHECK(told.transferred == 128);
}

TEST_CASE("what a token stands for is written into ranges of any unit") {
    struct Case {
        const char* name;
        unsigned from;
        Ranges source;
        unsigned to;
        Ranges destination;
        std::uint64_t offset;
        std::uint64_t copied_bytes;
    };
    const Case cases[] = {
        {"to another unit", 0, {{8, 1000}}, 1, {{16, 1000}}, 0, 1000 * 512},
        {"within the unit", 0, {{8, 1000}}, 0, {{2000, 1000}}, 0, 1000 * 512},
        {"several into one", 0, {{900, 10}, {8, 500}, {0, 7}}, 1, {{1, 517}}, 0, 517 * 512},
        {"one into several", 0, {{8, 600}}, 1, {{700, 100}, {5, 1}, {20, 499}}, 0, 600 * 512},
        {"empty ranges between",
         0,
         {{8, 4}, {9, 0}, {64, 4}},
         1,
         {{0, 5}, {3, 0}, {9, 3}},
         0,
         8 * 512},
        {"from an offset", 0, {{8, 10}, {100, 10}}, 1, {{0, 8}}, 7, 8 * 512},
        {"fewer than there are", 0, {{8, 100}}, 1, {{0, 3}}, 0, 3 * 512},
        {"more than there are", 0, {{8, 100}}, 1, {{0, 200}}, 40, 60 * 512},
        {"to larger blocks", 0, {{8, 800}}, 2, {{3, 100}}, 0, 800 * 512},
        {"to larger blocks, by offset", 0, {{8, 800}}, 2, {{3, 99}}, 1, 99 * 4096},
        {"to larger blocks, not whole", 0, {{8, 12}}, 2, {{3, 2}}, 0, 2 * 4096},
        {"to smaller blocks", 2, {{5, 90}}, 1, {{7, 720}}, 0, 720 * 512},
    };
    for (const Case& each : cases) {
        for (const bool later : {false, true}) {
            for (const bool immediate : {false, true}) {
                CAPTURE(each.name, later, immediate);
                CopyRig rig;
                fill_all(rig);
                const auto block = [](unsigned unit) { return unit == 2 ? 4096u : 512u; };
                Buffer rod;
                for (const auto& [lba, blocks] : each.source) {
                    const auto part = rig.content(each.from, lba * block(each.from),
                                                  std::uint64_t{blocks} * block(each.from));
                    rod.insert(rod.end(), part.begin(), part.end());
                }
                rod.erase(rod.begin(),
                          rod.begin() + static_cast<std::ptrdiff_t>(each.offset * block(each.to)));
                rod.resize(each.copied_bytes);  // cut, or the last block filled with zeroes
                Buffer expected = rig.content(each.to, 0, CopyRig::kBytes);
                std::size_t taken = 0;
                std::uint64_t asked = 0;
                for (const auto& [lba, blocks] : each.destination) {
                    asked += blocks;
                    const std::size_t length = std::min<std::size_t>(
                        std::size_t{blocks} * block(each.to), rod.size() - taken);
                    std::copy_n(
                        rod.begin() + static_cast<std::ptrdiff_t>(taken), length,
                        expected.begin() + static_cast<std::ptrdiff_t>(lba * block(each.to)));
                    taken += length;
                }
                const Buffer token = token_of(rig, each.source, each.from);
                rig.hold(later);
                CHECK(write_using(
                          rig, write_list(token, each.destination, each.offset, immediate ? 1 : 0),
                          each.to)
                          .good());
                CHECK((rig.content(each.to, 0, CopyRig::kBytes) == expected));
                const Information told = information(rig, 2);
                CHECK(told.action == 0x11);
                CHECK(told.transferred == each.copied_bytes / block(each.to));
                CHECK(told.status == (asked * block(each.to) == each.copied_bytes ? 0x01 : 0x03));
                CHECK(told.token.empty());
                CHECK(rig.device->tasks_in_flight() == 0);
            }
        }
    }
}

TEST_CASE("the block zero token clears, whatever its length and without a source") {
    CopyRig rig;
    fill_all(rig);
    CHECK(write_using(rig, write_list(zero_token(), {{10, 4000}, {5000, 1}})).good());
    CHECK(rig.content(0, 10 * 512, 4000 * 512) == Buffer(4000 * 512));
    CHECK(rig.content(0, 5000 * 512, 512) == Buffer(512));
    CHECK(rig.content(0, 5001 * 512, 512) != Buffer(512));
    CHECK(information(rig, 2).transferred == 4001);
    for (const MemoryDisk::Seen& seen : rig.disk->submitted)
        CHECK(seen.operation == disk::Operation::write_zeroes);
}

TEST_CASE("a write into what a token stands for revokes it, and only it") {
    struct Case {
        const char* name;
        std::function<bool(CopyRig&)> change;
        bool revokes;
    };
    const auto unmap = [](CopyRig& rig, std::uint64_t lba) {
        Buffer list(24);
        store_be16(&list[0], 22);
        store_be16(&list[2], 16);
        store_be64(&list[8], lba);
        store_be32(&list[16], 1);
        return rig.run(cdb(0x42).be16(7, 24), list).good();
    };
    const auto write = [](std::uint32_t lba, std::uint16_t blocks) {
        return [=](CopyRig& rig) {
            return rig.run(rig.second, write10(lba, blocks), pattern(blocks * 512u, 1)).good();
        };
    };
    const Case cases[] = {
        {"write of its first block", write(100, 1), true},
        {"write of its last block", write(149, 1), true},
        {"write over all of it", write(0, 400), true},
        {"write before it", write(99, 1), false},
        {"write after it", write(150, 1), false},
        {"write between its ranges", write(160, 40), false},
        {"write of its second range", write(205, 1), true},
        {"unmap", [&](CopyRig& rig) { return unmap(rig, 120); }, true},
        {"unmap elsewhere", [&](CopyRig& rig) { return unmap(rig, 199); }, false},
        {"write same",
         [](CopyRig& rig) { return rig.run(cdb(0x93).u8(1, 1).be64(2, 149).be32(10, 2)).good(); },
         true},
        {"compare and write",
         [](CopyRig& rig) {
             Buffer both = rig.content(0, 110 * 512, 512);
             both.resize(1024);
             return rig.run(cdb(0x89).be64(2, 110).u8(13, 1), both).good();
         },
         true},
        {"compare and write that differs",
         [](CopyRig& rig) {
             return rig.run(cdb(0x89).be64(2, 110).u8(13, 1), Buffer(1024)).sense(0xE, 0x1D, 0);
         },
         false},
        {"write to another unit",
         [](CopyRig& rig) {
             return rig.run(rig.first, write10(100, 1), pattern(512, 1), 1ull << 48).good();
         },
         false},
        {"another copy into it",
         [](CopyRig& rig) {
             return write_using(rig, write_list(zero_token(), {{120, 1}}), 0, 9).good();
         },
         true},
        {"read and flush",
         [](CopyRig& rig) { return rig.run(read10(100, 50)).good() && rig.run(cdb(0x35)).good(); },
         false},
    };
    for (const Case& each : cases) {
        CAPTURE(each.name);
        CopyRig rig;
        fill_all(rig);
        const Buffer token = token_of(rig, {{100, 50}, {200, 10}});
        REQUIRE(each.change(rig));
        rig.disks[1]->submitted.clear();
        Command& command = write_using(rig, write_list(token, {{0, 60}}), 1);
        if (each.revokes) {
            CHECK(command.sense(5, 0x23, 0x06));
            CHECK(rig.disks[1]->submitted.empty());
            CHECK(information(rig, 1).token.empty());
        } else {
            CHECK(command.good());
        }
    }
}

TEST_CASE("a copy whose source changes on the way stops before it writes what is new") {
    CopyRig rig;
    fill_all(rig);
    const Buffer token = token_of(rig, {{0, 512}});
    const Buffer before = rig.content(0, 0, 512 * 512);
    const Buffer untouched = rig.content(1, 128 * 512, 384 * 512);
    rig.hold(true);
    const Buffer list = write_list(token, {{0, 512}});
    Command& copy = rig.run(rig.first, copy_out(0x11, 2, list.size()), list, 1ull << 48);
    rig.disks[0]->finish_one();
    rig.disks[1]->finish_one();  // the first 64 KiB are there, the next are being read
    REQUIRE(rig.disks[0]->held.size() == 1);
    Command& write = rig.run(rig.second, write10(500, 1), pattern(512, 3));
    rig.settle();
    CHECK(write.good());
    CHECK(copy.sense(5, 0x23, 0x06));
    CHECK(rig.content(1, 0, 128 * 512) == Buffer(before.begin(), before.begin() + 128 * 512));
    CHECK(rig.content(1, 128 * 512, 384 * 512) == untouched);
    const Information told = information(rig, 2);
    CHECK(told.status == 0x02);
    CHECK(told.completion == 0x02);
    CHECK(told.transferred == 128);
    REQUIRE(told.sense.size() == 18);
    CHECK(told.sense[12] == 0x23);
    CHECK(told.sense[13] == 0x06);
}

TEST_CASE("a token that is not the device's, not whole, or too old is refused") {
    struct Case {
        const char* name;
        std::function<void(CopyRig&, Buffer&)> spoil;
        unsigned ascq;
    };
    const Case cases[] = {
        {"one bit of the secret", [](CopyRig&, Buffer& token) { token[191] ^= 1; }, 0x04},
        {"one bit of what is not secret", [](CopyRig&, Buffer& token) { token[511] ^= 1; }, 0x04},
        {"another number", [](CopyRig&, Buffer& token) { token[15] ^= 1; }, 0x04},
        {"another type", [](CopyRig&, Buffer& token) { token[3] = 0; }, 0x04},
        {"of another device",
         [](CopyRig&, Buffer& token) {
             CopyRig other;
             token_of(other, {{5, 5}});
             token = token_of(other, {{0, 100}});
         },
         0x04},
        {"another length", [](CopyRig&, Buffer& token) { token[7] = 0xF0; }, 0x0A},
        {"not used for its time", [](CopyRig& rig, Buffer&) { rig.now_ms += 30'001; }, 0x07},
    };
    for (const Case& each : cases) {
        CAPTURE(each.name);
        CopyRig rig;
        fill_all(rig);
        Buffer token = token_of(rig, {{0, 100}});
        each.spoil(rig, token);
        CHECK(write_using(rig, write_list(token, {{0, 100}}), 1).sense(5, 0x23, each.ascq));
        CHECK(rig.disks[1]->submitted.empty());
        CHECK(rig.run(copy_in(0x07, 2)).sense(5, 0x24, 0));
    }
}

TEST_CASE("use keeps a token, up to its lifetime; the timeout is the initiator's to choose") {
    CopyRig rig;
    fill_all(rig);
    REQUIRE(populate(rig, populate_list({{0, 10}}, 120)).good());
    const Buffer token = information(rig, 1).token;
    const Buffer list = write_list(token, {{0, 10}});
    for (int i = 0; i < 6; ++i) {
        CAPTURE(i);
        rig.now_ms += 100'000;
        CHECK(write_using(rig, list, 1).good());
    }
    rig.now_ms += 1'000;  // 601 s old
    CHECK(write_using(rig, list, 1).sense(5, 0x23, 0x07));
    // A write no longer has to tell it.
    CHECK(rig.run(write10(0, 1), pattern(512, 1)).good());
    CHECK(write_using(rig, list, 1).sense(5, 0x23, 0x07));
}

TEST_CASE("tokens are bounded: the one used longest ago makes room") {
    CopyRig rig;
    fill_all(rig);
    std::vector<Buffer> tokens;
    for (std::uint32_t i = 0; i < 64; ++i) {
        ++rig.now_ms;
        tokens.push_back(token_of(rig, {{i, 1}}));
    }
    ++rig.now_ms;
    CHECK(write_using(rig, write_list(tokens[0], {{0, 1}}), 1).good());
    ++rig.now_ms;
    tokens.push_back(token_of(rig, {{64, 1}}));
    CHECK(write_using(rig, write_list(tokens[0], {{0, 1}}), 1).good());
    CHECK(write_using(rig, write_list(tokens[1], {{0, 1}}), 1).sense(5, 0x23, 0x04));
    CHECK(write_using(rig, write_list(tokens[64], {{0, 1}}), 1).good());
}

TEST_CASE("DEL_TKN ends a token with the copy") {
    CopyRig rig;
    fill_all(rig);
    const Buffer token = token_of(rig, {{0, 100}});
    CHECK(write_using(rig, write_list(token, {{0, 100}}, 0, 0x02), 1).good());
    CHECK(write_using(rig, write_list(token, {{0, 100}}), 1).sense(5, 0x23, 0x04));
}

TEST_CASE("populate token refuses lists that do not add up") {
    struct Case {
        const char* name;
        std::function<void(Buffer&)> spoil;
        unsigned asc, ascq;
    };
    const auto set = [](std::size_t at, unsigned value) {
        return [=](Buffer& list) { list.at(at) = static_cast<std::uint8_t>(value); };
    };
    const auto ranges = [](Ranges each) {
        return [=](Buffer& list) { list = populate_list(each); };
    };
    const Case cases[] = {
        {"cut in the header", [](Buffer& list) { list.resize(15); }, 0x1A, 0},
        {"no whole descriptor", [](Buffer& list) { list.resize(31); }, 0x1A, 0},
        {"data length too small", set(1, 0x1D), 0x26, 0},
        {"descriptor length zero", set(15, 0), 0x26, 0},
        {"descriptor length of less than one", set(15, 15), 0x26, 0},
        {"descriptors longer than the data", set(15, 49), 0x26, 0},
        {"descriptors far longer than the data", set(14, 0xFF), 0x26, 0},
        {"inactivity timeout", set(7, 121), 0x26, 0},
        {"ROD type of no point in time",
         [](Buffer& list) {
             list[2] = 0x02;
             store_be32(&list[8], 0x00010000);
         },
         0x26, 0},
        {"persistent ROD type",
         [](Buffer& list) {
             list[2] = 0x02;
             store_be32(&list[8], 0x00800002);
         },
         0x26, 0},
        {"past the end", ranges({{CopyRig::kBlocks - 1, 2}}), 0x21, 0},
        {"far past the end", ranges({{~0ull, 1}}), 0x21, 0},
        {"second one past the end", ranges({{0, 1}, {0, CopyRig::kBlocks + 1}}), 0x21, 0},
        {"same block twice", ranges({{10, 10}, {40, 2}, {19, 1}}), 0x26, 0},
        {"too many descriptors", ranges(Ranges(65, {1, 0})), 0x26, 0x08},
    };
    for (const Case& each : cases) {
        CAPTURE(each.name);
        CopyRig rig;
        Buffer list = populate_list({{0, 8}, {16, 8}});
        each.spoil(list);
        CHECK(populate(rig, list).sense(5, each.asc, each.ascq));
        CHECK(rig.run(copy_in(0x07, 1)).sense(5, 0x24, 0));
    }
    CopyRig rig;
    CHECK(rig.finish(copy_out(0x10, 1, 0)).good());
    CHECK(populate(rig, populate_list(Ranges(64, {1, 0}))).good());
    Buffer typed = populate_list({{0, 8}});
    typed[2] = 0x03;  // RTV and IMMED
    for (const std::uint32_t type : {0x00800001u, 0x0080FFFFu}) {
        store_be32(&typed[8], type);
        CHECK(populate(rig, typed).good());
    }
    // A descriptor that the list length cuts off is ignored.
    Buffer cut = populate_list({{0, 8}, {16, 8}});
    cut.resize(cut.size() - 1);
    CHECK(populate(rig, cut).good());
    CHECK(information(rig, 1).transferred == 8);
}

TEST_CASE("more than a token's size is refused") {
    Rig plain({.size_bytes = kDiskBytes});
    CHECK(plain.run(copy_out(0x10, 1, 0)).sense(5, 0x20, 0));
    DeviceSeams seams;
    seams.now_ms = [] { return std::uint64_t{0}; };
    seams.fill_random = [](MutableBytes out) { std::ranges::fill(out, std::uint8_t{1}); };
    Rig rig({{.size_bytes = 300 * kMiB}}, std::move(seams));
    const auto run = [&](const Buffer& list) -> Command& {
        return rig.run(copy_out(0x10, 1, list.size()), list);
    };
    constexpr std::uint32_t kMost = 256 * kMiB / 512;
    CHECK(run(populate_list({{0, kMost}})).good());
    CHECK(run(populate_list({{0, kMost + 1}})).sense(5, 0x26, 0));
    CHECK(run(populate_list({{0, kMost}, {kMost, 1}})).sense(5, 0x26, 0));
}

TEST_CASE("write using token refuses lists that do not add up") {
    struct Case {
        const char* name;
        std::function<void(Buffer&)> spoil;
        unsigned asc, ascq;
    };
    const auto set = [](std::size_t at, unsigned value) {
        return [=](Buffer& list) { list.at(at) = static_cast<std::uint8_t>(value); };
    };
    const auto ranges = [](Ranges each) {
        return [=](Buffer& list) {
            list = write_list(Buffer(list.begin() + 16, list.begin() + 528), each);
        };
    };
    const Case cases[] = {
        {"cut in the header", [](Buffer& list) { list.resize(15); }, 0x1A, 0},
        {"cut in the token", [](Buffer& list) { list.resize(400); }, 0x1A, 0},
        {"no whole descriptor", [](Buffer& list) { list.resize(551); }, 0x1A, 0},
        {"last descriptor cut", [](Buffer& list) { list.pop_back(); }, 0x1A, 0},
        {"data length too small", [](Buffer& list) { store_be16(&list[0], 0x225); }, 0x26, 0},
        {"data length and descriptors at odds", [](Buffer& list) { ++list[1]; }, 0x26, 0},
        {"descriptor length zero", set(535, 0), 0x26, 0},
        {"offset at the token's end", set(15, 100), 0x26, 0},
        {"offset far beyond", set(8, 0x80), 0x26, 0},
        {"past the end", ranges({{CopyRig::kBlocks - 9, 10}}), 0x21, 0},
        {"same block twice", ranges({{10, 10}, {19, 1}}), 0x26, 0},
        {"too many descriptors", ranges(Ranges(65, {1, 0})), 0x26, 0x08},
    };
    for (const Case& each : cases) {
        CAPTURE(each.name);
        CopyRig rig;
        fill_all(rig);
        Buffer list = write_list(token_of(rig, {{0, 100}}), {{0, 50}, {70, 50}});
        each.spoil(list);
        CHECK(write_using(rig, list, 1).sense(5, each.asc, each.ascq));
        CHECK(rig.disks[1]->submitted.empty());
    }
    CopyRig rig;
    CHECK(rig.finish(copy_out(0x11, 1, 0)).good());
}

TEST_CASE("a token is not written over what it stands for") {
    CopyRig rig;
    fill_all(rig);
    const Buffer token = token_of(rig, {{0, 100}});
    CHECK(write_using(rig, write_list(token, {{99, 10}})).sense(5, 0x23, 0x00));
    CHECK(rig.disk->submitted.empty());
    CHECK(write_using(rig, write_list(token, {{100, 100}})).good());
}

TEST_CASE("in the background a copy goes on after its command, and tells how it stands") {
    CopyRig rig;
    fill_all(rig);
    const Buffer token = token_of(rig, {{0, 512}});
    rig.hold(true);
    const Buffer list = write_list(token, {{0, 512}}, 0, 1);
    Command& command = rig.run(rig.first, copy_out(0x11, 2, list.size()), list, 1ull << 48);
    CHECK(command.good());
    CHECK(rig.device->tasks_in_flight() == 1);
    CHECK(information(rig, 2).status == 0x12);
    CHECK(
        rig.run(rig.first, copy_out(0x11, 2, list.size()), list, 1ull << 48).sense(5, 0x00, 0x16));
    rig.disks[0]->finish_one();
    rig.disks[1]->finish_one();
    CHECK(information(rig, 2).transferred == 128);
    rig.disks[0]->fail_next(disk::Operation::read, disk::Outcome::medium_error);
    rig.settle();
    CHECK(rig.device->tasks_in_flight() == 0);
    const Information told = information(rig, 2);
    CHECK(told.status == 0x02);
    CHECK(told.transferred == 128);
    CHECK(told.sense.at(2) == 0x03);
    CHECK(told.sense.at(12) == 0x11);
}

TEST_CASE("a foreground copy is said to be one") {
    CopyRig rig;
    fill_all(rig);
    const Buffer token = token_of(rig, {{0, 512}});
    rig.hold(true);
    const Buffer list = write_list(token, {{0, 512}});
    Command& command = rig.run(rig.first, copy_out(0x11, 2, list.size()), list, 1ull << 48);
    CHECK_FALSE(command.done);
    CHECK(information(rig, 2).status == 0x11);
    command.task.aborted = true;
    rig.settle();
    CHECK(information(rig, 2).status == 0x60);
}

TEST_CASE("a background copy ends with a reset and with its session") {
    for (const bool by_reset : {true, false}) {
        CopyRig rig;
        fill_all(rig);
        const Buffer token = token_of(rig, {{0, 512}});
        rig.hold(true);
        const Buffer list = write_list(token, {{0, 512}}, 0, 1);
        REQUIRE(rig.run(rig.first, copy_out(0x11, 2, list.size()), list, 1ull << 48).good());
        if (by_reset) {
            rig.device->manage(*rig.first, TaskManagement::logical_unit_reset, 0, nullptr);
        } else {
            rig.device->nexus_lost(*rig.first);
            rig.device->close_nexus(std::exchange(rig.first, nullptr));
        }
        rig.settle();
        CHECK(rig.disks[1]->submitted.empty());
        CHECK(rig.device->tasks_in_flight() == 0);
    }
}

TEST_CASE("reservations bind the token's source and the destination") {
    CopyRig rig;
    fill_all(rig);
    const Buffer token = token_of(rig, {{0, 100}});
    const Buffer list = write_list(token, {{0, 100}});
    const auto reserve = [&](std::uint64_t lun) {
        REQUIRE(rig.run(rig.second, cdb(0x16), {}, lun << 48).good());
    };
    reserve(0);
    const Buffer again = populate_list({{0, 1}});
    CHECK(populate(rig, again).task.status == Status::reservation_conflict);
    CHECK(write_using(rig, list, 1).sense(0xA, 0, 0));
    REQUIRE(rig.run(rig.second, cdb(0x17)).good());
    reserve(1);
    CHECK(write_using(rig, list, 1).task.status == Status::reservation_conflict);
    CHECK(rig.disks[1]->submitted.empty());
}

TEST_CASE("information is of a nexus, of a token command, and cut at the allocation length") {
    CopyRig rig;
    token_of(rig, {{0, 100}}, 0, 0x12345678);
    CHECK(rig.run(rig.second, copy_in(0x07, 0x12345678)).sense(5, 0x24, 0));
    CHECK(rig.run(copy_in(0x07, 0x12345679)).sense(5, 0x24, 0));
    Command& cut = rig.run(copy_in(0x07, 0x12345678, 20));
    REQUIRE(cut.data_in().size() == 20);
    CHECK(load_be32(cut.data_in().data()) == 32 + 4 + 514 - 4);
    token_of(rig, {{0, 1}}, 0, 7);
    CHECK(rig.run(copy_in(0x00, 7)).sense(5, 0x24, 0));  // not an EXTENDED COPY
}

TEST_CASE("the third-party copy page tells the limits of tokens") {
    CopyRig rig;
    const auto page = copy(rig.run(cdb(0x12).u8(1, 1).u8(2, 0x8F).be16(3, 1024)).data_in());
    std::map<unsigned, std::string> descriptors;
    for (std::size_t at = 4; at < page.size(); at += 4u + load_be16(&page[at + 2]))
        descriptors[load_be16(&page[at])] =
            to_hex(Bytes(page).subspan(at + 4, load_be16(&page[at + 2])));
    CHECK(descriptors.at(0x0000) ==
          "000000000000"
          "0040"
          "00000078"
          "0000001e"
          "0000000000080000"
          "0000000000020000");
    CHECK(descriptors.at(0x0001) ==
          "0b"
          "8303001011"
          "840400030407");
    CHECK(descriptors.at(0x0106) == "00" + std::string(22, '0') +
                                        "00000000"
                                        "00000258"
                                        "00000078" +
                                        std::string(36, '0') +
                                        "0030"
                                        "0000002c"
                                        "0000"
                                        "0008"
                                        "0000000010000000"
                                        "0000000004000000"
                                        "0000000004000000"
                                        "0000000004000000" +
                                        std::string(16, '0'));
    CHECK(descriptors.at(0x0108) ==
          "0000"
          "0080"
          "00800001"
          "03" +
              std::string(118, '0') +
              "ffff0001"
              "02" +
              std::string(118, '0'));
}
