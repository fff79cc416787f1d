// Commands of several disk requests, each with a disk that answers at once and one that answers
// later.
#include "common/hex.hpp"
#include "tests/unit/scsi/scsi_rig.hpp"

using namespace goldlink;
using namespace goldlink::scsi;
using namespace goldlink::scsi::testing;

namespace {

constexpr std::uint32_t kBlocks = kDiskBytes / 512;

// Runs a command to its end whichever way the disk answers.
Command& finish(Rig& rig, const Cdb& cdb, std::vector<std::uint8_t> data_out = {}) {
    Command& command = rig.run(cdb, std::move(data_out));
    rig.disk->finish_all();
    REQUIRE(command.done);
    CHECK(rig.device->tasks_in_flight() == 0);
    return command;
}

Rig& with(Rig& rig, bool later) {
    rig.disk->hold = later;
    return rig;
}

std::vector<std::uint8_t> unmap_list(std::vector<std::pair<std::uint64_t, std::uint32_t>> ranges) {
    std::vector<std::uint8_t> list(8 + ranges.size() * 16);
    store_be16(&list[0], static_cast<std::uint16_t>(list.size() - 2));
    store_be16(&list[2], static_cast<std::uint16_t>(ranges.size() * 16));
    for (std::size_t i = 0; i < ranges.size(); ++i) {
        store_be64(&list[8 + i * 16], ranges[i].first);
        store_be32(&list[16 + i * 16], ranges[i].second);
    }
    return list;
}

Cdb unmap(std::size_t length) { return cdb(0x42).be16(7, static_cast<std::uint16_t>(length)); }

bool is_zero(Rig& rig, std::uint64_t lba, std::uint64_t blocks) {
    const std::uint8_t* from = rig.disk->data() + lba * 512;
    return std::all_of(from, from + blocks * 512, [](std::uint8_t byte) { return byte == 0; });
}

}  // namespace

TEST_CASE("verify compares across its working memory's pieces") {
    for (const bool later : {false, true}) {
        Rig rig;
        const auto data = pattern(300 * 512, 4);
        REQUIRE(rig.run(write10(7, 300), data).good());
        with(rig, later);
        for (const auto& [opcode, length] : {std::pair{0x2F, 10}, {0xAF, 12}, {0x8F, 16}}) {
            Cdb verify = Cdb{}.u8(0, static_cast<unsigned>(opcode)).u8(1, 0x02);
            if (length == 10) verify.be32(2, 7).be16(7, 300);
            if (length == 12) verify.be32(2, 7).be32(6, 300);
            if (length == 16) verify.be64(2, 7).be32(10, 300);
            CHECK(finish(rig, verify, data).good());
            auto other = data;
            other[200 * 512 + 13] ^= 1;
            Command& miscompare = finish(rig, verify, other);
            CHECK(miscompare.sense(0xE, 0x1D, 0x00));
            CHECK(miscompare.task.sense.information == 200 * 512 + 13);
        }
    }
}

TEST_CASE("verify without compare reads the blocks; one-block compare; reserved BYTCHK") {
    Rig rig;
    const Cdb verify = cdb(0x2F).be32(2, 0).be16(7, 4);
    Command& plain = rig.run(verify);
    CHECK(plain.good());
    CHECK(plain.task.data_out_length == 0);
    rig.disk->fail_next(disk::Operation::read, disk::Outcome::medium_error);
    CHECK(rig.run(verify).sense(3, 0x11, 0x00));
    CHECK(rig.run(Cdb(verify).u8(1, 0x04), pattern(512, 1)).sense(5, 0x24, 0x00));
    CHECK(rig.run(Cdb(verify).u8(1, 0x20)).sense(5, 0x24, 0x00));
    const auto block = pattern(512, 1);
    for (std::uint32_t lba = 0; lba < 4; ++lba) rig.run(write10(lba, 1), block);
    CHECK(rig.run(Cdb(verify).u8(1, 0x06), block).good());
    rig.disk->data()[3 * 512 + 5] ^= 1;
    Command& odd = rig.run(Cdb(verify).u8(1, 0x06), block);
    CHECK(odd.sense(0xE, 0x1D, 0x00));
    CHECK(odd.task.sense.information == 5);
    CHECK(rig.run(cdb(0x2F).be32(2, kBlocks - 1).be16(7, 2)).sense(5, 0x21, 0x00));
    CHECK(rig.run(cdb(0x2F).u8(1, 2).be16(7, 0)).good());
}

TEST_CASE("write and verify writes through, then reads back") {
    for (const bool later : {false, true}) {
        Rig rig;
        with(rig, later);
        const auto data = pattern(200 * 512, 5);
        CHECK(finish(rig, cdb(0x2E).u8(1, 2).be32(2, 9).be16(7, 200), data).good());
        CHECK(rig.disk->submitted[0].operation == disk::Operation::write);
        CHECK(rig.disk->submitted[0].fua);
        CHECK(rig.disk->submitted.size() == 3);  // and two pieces of reading
        CHECK(std::equal(data.begin(), data.end(), rig.disk->data() + 9 * 512));
        CHECK(finish(rig, cdb(0xAE).be32(2, 9).be32(6, 1), pattern(512, 6)).good());
        CHECK(finish(rig, cdb(0x8E).be64(2, 9).be32(10, 0)).good());
        rig.disk->fail_next(disk::Operation::write, disk::Outcome::out_of_space);
        CHECK(finish(rig, cdb(0x8E).be64(2, 9).be32(10, 1), pattern(512, 6)).sense(7, 0x27, 0x07));
    }
}

TEST_CASE("unmap clears each of its ranges") {
    for (const bool later : {false, true}) {
        Rig rig;
        REQUIRE(rig.run(write10(0, 64), pattern(64 * 512, 1)).good());
        with(rig, later);
        const auto list = unmap_list({{8, 8}, {3, 0}, {40, 16}, {0, 1}});
        CHECK(finish(rig, unmap(list.size()), list).good());
        CHECK(is_zero(rig, 8, 8));
        CHECK(is_zero(rig, 40, 16));
        CHECK(is_zero(rig, 0, 1));
        CHECK_FALSE(is_zero(rig, 1, 1));
        CHECK_FALSE(is_zero(rig, 16, 24));
        rig.disk->fail_next(disk::Operation::unmap, disk::Outcome::write_failed);
        CHECK(finish(rig, unmap(list.size()), list).sense(3, 0x0C, 0x00));
    }
}

TEST_CASE("unmap checks its whole list before it does anything") {
    Rig rig;
    const auto refused = [&](std::vector<std::uint8_t> list) -> Command& {
        Command& command = rig.run(unmap(list.size()), list);
        CHECK(rig.disk->submitted.empty());
        return command;
    };
    CHECK(refused(unmap_list({{0, 8}, {kBlocks - 1, 2}})).sense(5, 0x21, 0x00));
    CHECK(refused(unmap_list({{0, 8}, {~0ull, 2}})).sense(5, 0x21, 0x00));
    CHECK(refused(std::vector<std::uint8_t>(7)).sense(5, 0x1A, 0x00));
    CHECK(refused({}).good());
    CHECK(refused(unmap_list({})).good());
    std::vector<std::pair<std::uint64_t, std::uint32_t>> many(257, {0, 1});
    CHECK(refused(unmap_list(many)).sense(5, 0x26, 0x00));
    CHECK(refused(unmap_list({{kBlocks, 0}})).good());
    const auto list = unmap_list({{0, 8}});
    CHECK(rig.run(unmap(list.size()).u8(1, 1), list).sense(5, 0x24, 0x00));  // ANCHOR
    // the initiator announced less than the CDB
    CHECK(rig.run(unmap(list.size() + 16), list).sense(5, 0x1A, 0x00));
    // a list cut within a descriptor: the whole ones count
    auto cut = unmap_list({{0, 8}, {8, 8}});
    cut.resize(cut.size() - 1);
    CHECK(rig.run(unmap(cut.size()), cut).good());
    CHECK(rig.disk->submitted.size() == 1);
}

TEST_CASE("a thick disk does not know UNMAP, and refuses WRITE SAME with UNMAP") {
    Rig rig({.size_bytes = kDiskBytes, .thin = false});
    CHECK(rig.run(unmap(0)).sense(5, 0x20, 0x00));
    CHECK(to_hex(rig.run(cdb(0xA3).u8(1, 0x0C).u8(2, 1).u8(3, 0x42).be32(6, 64)).data_in()) ==
          "00010000");
    CHECK(rig.run(cdb(0x41).u8(1, 8).be16(7, 1), std::vector<std::uint8_t>(512))
              .sense(5, 0x24, 0x00));
    CHECK(rig.run(cdb(0x41).be16(7, 1), std::vector<std::uint8_t>(512)).good());
}

TEST_CASE("write same repeats its block, and clears zeroes in one request") {
    for (const bool later : {false, true}) {
        Rig rig;
        with(rig, later);
        const auto block = pattern(512, 7);
        CHECK(finish(rig, cdb(0x93).be64(2, 5).be32(10, 300), block).good());
        for (std::uint32_t i = 0; i < 300; ++i)
            REQUIRE(std::equal(block.begin(), block.end(), rig.disk->data() + (5 + i) * 512));
        CHECK(is_zero(rig, 305, 1));
        CHECK(is_zero(rig, 0, 5));
        rig.disk->submitted.clear();
        CHECK(
            finish(rig, cdb(0x41).be32(2, 10).be16(7, 200), std::vector<std::uint8_t>(512)).good());
        REQUIRE(rig.disk->submitted.size() == 1);
        CHECK(rig.disk->submitted[0].operation == disk::Operation::write_zeroes);
        CHECK(is_zero(rig, 10, 200));
        CHECK_FALSE(is_zero(rig, 9, 1));
        CHECK(finish(rig, cdb(0x93).u8(1, 0x09).be64(2, 0).be32(10, 10)).good());  // UNMAP, NDOB
        CHECK(rig.disk->submitted.back().operation == disk::Operation::unmap);
        CHECK(is_zero(rig, 0, 10));
    }
}

TEST_CASE("write same refuses what it does not do") {
    Rig rig;
    const auto block = pattern(512, 7);
    CHECK(rig.run(cdb(0x93).be32(10, 0), block).sense(5, 0x24, 0x00));              // WSNZ
    CHECK(rig.run(cdb(0x93).be32(10, 32769), block).sense(5, 0x24, 0x00));          // B0's limit
    CHECK(rig.run(cdb(0x93).u8(1, 0x18).be32(10, 1), block).sense(5, 0x24, 0x00));  // ANCHOR
    CHECK(rig.run(cdb(0x41).u8(1, 0x02).be16(7, 1), block).sense(5, 0x24, 0x00));   // LBDATA
    CHECK(rig.run(cdb(0x93).u8(1, 0x20).be32(10, 1), block).sense(5, 0x24, 0x00));
    CHECK(rig.run(cdb(0x93).be64(2, kBlocks).be32(10, 1), block).sense(5, 0x21, 0x00));
    for (const std::size_t offered : {0u, 100u, 1024u})
        CHECK(rig.run(cdb(0x93).be32(10, 1), pattern(offered, 1)).sense(5, 0x0E, 0x03));
    CHECK(rig.disk->submitted.empty());
}

TEST_CASE("compare and write") {
    for (const bool later : {false, true}) {
        Rig rig;
        const auto before = pattern(8 * 512, 1);
        const auto after = pattern(8 * 512, 2);
        REQUIRE(rig.run(write10(20, 8), before).good());
        with(rig, later);
        auto both = before;
        both.insert(both.end(), after.begin(), after.end());
        const Cdb caw = cdb(0x89).be64(2, 20).u8(13, 8);
        CHECK(finish(rig, caw, both).good());
        CHECK(std::equal(after.begin(), after.end(), rig.disk->data() + 20 * 512));
        Command& miscompare = finish(rig, caw, both);
        CHECK(miscompare.sense(0xE, 0x1D, 0x00));
        CHECK(miscompare.task.sense.information == 0);
        auto almost = after;
        almost[4000] ^= 1;
        almost.insert(almost.end(), before.begin(), before.end());
        CHECK(finish(rig, caw, almost).task.sense.information == 4000);
        CHECK(std::equal(after.begin(), after.end(), rig.disk->data() + 20 * 512));
        CHECK(finish(rig, cdb(0x89).be64(2, 20).u8(13, 0)).good());
        CHECK(finish(rig, cdb(0x89).be64(2, 0).u8(13, 129), both).sense(5, 0x24, 0x00));
        both.resize(both.size() - 1);
        CHECK(finish(rig, caw, both).sense(5, 0x24, 0x00));
        CHECK(finish(rig, cdb(0x89).be64(2, 20).u8(13, 0), both).sense(5, 0x24, 0x00));
    }
}

TEST_CASE("nothing gets between the read and the write of compare and write") {
    Rig rig;
    const auto before = pattern(512, 1);
    REQUIRE(rig.run(write10(50, 1), before).good());
    auto both = before;
    const auto after = pattern(512, 2);
    both.insert(both.end(), after.begin(), after.end());
    rig.disk->hold = true;
    Command& caw = rig.run(rig.first, cdb(0x89).be64(2, 50).u8(13, 1), both);
    Command& overlapping = rig.run(rig.second, write10(49, 2), pattern(1024, 3));
    Command& rival = rig.run(rig.second, cdb(0x89).be64(2, 50).u8(13, 1), both);
    Command& elsewhere = rig.run(rig.second, write10(51, 1), pattern(512, 4));
    CHECK(rig.disk->held.size() == 2);  // the compare's read and the write elsewhere
    rig.disk->finish_one();
    CHECK(rig.disk->held.size() == 2);  // elsewhere, and now the compare's write
    rig.disk->finish_one();
    CHECK(elsewhere.good());
    CHECK_FALSE(overlapping.done);
    rig.disk->finish_one();
    CHECK(caw.good());
    rig.disk->finish_all();
    CHECK(overlapping.good());
    CHECK(rival.sense(0xE, 0x1D, 0x00));
    CHECK(overlapping.completions == 1);
}

TEST_CASE("compare and write waits for an overlapping write that runs") {
    Rig rig;
    auto both = std::vector<std::uint8_t>(512);
    const auto after = pattern(512, 2);
    both.insert(both.end(), after.begin(), after.end());
    rig.disk->hold = true;
    Command& write = rig.run(write10(5, 1), pattern(512, 9));
    Command& caw = rig.run(rig.second, cdb(0x89).be64(2, 5).u8(13, 1), both);
    CHECK(rig.disk->held.size() == 1);
    rig.disk->finish_one();
    CHECK(write.good());
    rig.disk->finish_all();
    CHECK(caw.sense(0xE, 0x1D, 0x00));
}

TEST_CASE("orwrite merges in pieces") {
    for (const bool later : {false, true}) {
        Rig rig;
        std::vector<std::uint8_t> old(200 * 512, 0x0F), data(200 * 512, 0x30);
        REQUIRE(rig.run(write10(3, 200), old).good());
        with(rig, later);
        CHECK(finish(rig, cdb(0x8B).be64(2, 3).be32(10, 200), data).good());
        const std::uint8_t* from = rig.disk->data() + 3 * 512;
        CHECK(std::all_of(from, from + 200 * 512, [](std::uint8_t byte) { return byte == 0x3F; }));
        CHECK(is_zero(rig, 203, 1));
        CHECK(finish(rig, cdb(0x8B).be64(2, 3).be32(10, 0)).good());
    }
}

TEST_CASE("prefetch reads at most what B0 announces") {
    Rig rig;
    CHECK(rig.run(cdb(0x34).be32(2, 0).be16(7, 8)).good());
    CHECK(rig.disk->submitted.size() == 1);
    CHECK(rig.run(cdb(0x34).be32(2, 0).be16(7, 0)).good());
    CHECK(rig.disk->submitted.size() == 1 + 128);
    CHECK(rig.run(cdb(0x90).be64(2, kBlocks - 1).be32(10, 2)).sense(5, 0x21, 0x00));
}

TEST_CASE("defect lists are empty, in the format that is asked for") {
    Rig rig;
    for (const unsigned asked : {0x00u, 0x18u, 0x1Du, 0x0Bu}) {
        Command& ten = rig.run(cdb(0x37).u8(2, asked).be16(7, 64));
        REQUIRE(ten.good());
        CHECK(copy(ten.data_in()) ==
              std::vector<std::uint8_t>{0, static_cast<std::uint8_t>(asked), 0, 0});
        Command& twelve = rig.run(cdb(0xB7).u8(1, asked).be32(2, 5).be32(6, 64));
        REQUIRE(twelve.good());
        CHECK(copy(twelve.data_in()) ==
              std::vector<std::uint8_t>{0, static_cast<std::uint8_t>(asked), 0, 0, 0, 0, 0, 0});
    }
    CHECK(rig.run(cdb(0x37).u8(2, 0x18).be16(7, 2)).data_in().size() == 2);
    CHECK(rig.run(cdb(0x37).u8(2, 0x07).be16(7, 64)).sense(5, 0x24, 0));
    CHECK(rig.run(cdb(0xB7).u8(1, 0x1F).be32(6, 64)).sense(5, 0x24, 0));
}
