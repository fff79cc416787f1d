// ROD tokens, as Windows' offloaded data transfer uses them: what one stands for, what is written
// from it, and how long it lives.
#include <functional>

#include "common/hex.hpp"
#include "tests/unit/scsi/rod_token_rig.hpp"

using namespace goldlink;
using namespace goldlink::scsi;
using namespace goldlink::scsi::testing;

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
