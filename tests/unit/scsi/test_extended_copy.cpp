// EXTENDED COPY (LID1) and what tells of it, on disks that answer at once and on ones that answer
// later.
#include <functional>

#include "common/hex.hpp"
#include "tests/unit/scsi/copy_rig.hpp"

using namespace goldlink;
using namespace goldlink::scsi;
using namespace goldlink::scsi::testing;

namespace {

using Buffer = std::vector<std::uint8_t>;

Buffer target_descriptor(unsigned unit) {
    Buffer raw(32);
    raw[0] = 0xE4;
    raw[4] = 0x01;
    raw[5] = 0x03;
    raw[7] = 8;
    store_be64(&raw[8], 0x3123456789ABCDEF + unit);
    store_be24(&raw[29], unit == 2 ? 4096 : 512);
    return raw;
}

struct Segment {
    std::uint16_t source, destination, count;
    std::uint64_t from, to;
    unsigned flags = 0;
};

Buffer segment_descriptor(const Segment& segment) {
    Buffer raw(28);
    raw[0] = 0x02;
    raw[1] = static_cast<std::uint8_t>(segment.flags);
    store_be16(&raw[2], 24);
    store_be16(&raw[4], segment.source);
    store_be16(&raw[6], segment.destination);
    store_be16(&raw[10], segment.count);
    store_be64(&raw[12], segment.from);
    store_be64(&raw[20], segment.to);
    return raw;
}

Buffer parameter_list(const std::vector<unsigned>& targets, const std::vector<Segment>& segments,
                      unsigned list_identifier = 1, unsigned usage = 0) {
    Buffer raw(16);
    raw[0] = static_cast<std::uint8_t>(list_identifier);
    raw[1] = static_cast<std::uint8_t>(usage << 3);
    store_be16(&raw[2], static_cast<std::uint16_t>(targets.size() * 32));
    store_be32(&raw[8], static_cast<std::uint32_t>(segments.size() * 28));
    for (const unsigned unit : targets) {
        const Buffer one = target_descriptor(unit);
        raw.insert(raw.end(), one.begin(), one.end());
    }
    for (const Segment& segment : segments) {
        const Buffer one = segment_descriptor(segment);
        raw.insert(raw.end(), one.begin(), one.end());
    }
    return raw;
}

Command& extended_copy(CopyRig& rig, const Buffer& list, std::uint64_t lun = 0) {
    return rig.finish(copy_out(0, 0, list.size()), list, lun);
}

bool untouched(const CopyRig& rig) {
    return std::ranges::all_of(rig.disks, [](const auto& disk) { return disk->submitted.empty(); });
}

}  // namespace

TEST_CASE("extended copy copies blocks between units and within one") {
    struct Case {
        const char* name;
        Segment segment;
        std::uint64_t length;
        unsigned source, destination;
    };
    const Case cases[] = {
        {"to another unit", {0, 1, 700, 3, 11}, 700 * 512, 0, 1},
        {"within a unit", {0, 0, 300, 0, 1000}, 300 * 512, 0, 0},
        {"over itself, upwards", {0, 0, 600, 10, 50}, 600 * 512, 0, 0},
        {"over itself, downwards", {0, 0, 600, 50, 10}, 600 * 512, 0, 0},
        {"to larger blocks", {0, 2, 800, 8, 5}, 800 * 512, 0, 2},
        {"to smaller blocks", {2, 1, 90, 7, 1}, 90 * 4096, 2, 1},
        {"counted in the destination's blocks", {0, 2, 100, 8, 5, 0x02}, 100 * 4096, 0, 2},
        {"the last block", {1, 0, 1, CopyRig::kBlocks - 1, CopyRig::kBlocks - 1}, 512, 1, 0},
        {"nothing", {0, 1, 0, 0, 0}, 0, 0, 1},
    };
    for (const Case& each : cases) {
        for (const bool later : {false, true}) {
            CAPTURE(each.name, later);
            CopyRig rig;
            for (std::size_t unit = 0; unit < 3; ++unit)
                rig.fill(unit, 0, CopyRig::kBytes, static_cast<std::uint32_t>(unit));
            rig.hold(later);
            const auto block = [](unsigned unit) { return unit == 2 ? 4096u : 512u; };
            const std::uint64_t from = each.segment.from * block(each.source);
            const std::uint64_t to = each.segment.to * block(each.destination);
            auto expected = rig.content(each.destination, 0, CopyRig::kBytes);
            const auto copied = rig.content(each.source, from, each.length);
            std::ranges::copy(copied, expected.begin() + static_cast<std::ptrdiff_t>(to));
            CHECK(extended_copy(rig, parameter_list({0, 1, 2}, {each.segment})).good());
            CHECK(rig.content(each.destination, 0, CopyRig::kBytes) == expected);
            CHECK(rig.device->tasks_in_flight() == 0);
        }
    }
}

TEST_CASE("segments are copied in order, and the status counts them") {
    CopyRig rig;
    rig.fill(0, 0, CopyRig::kBytes, 1);
    const auto block = rig.content(0, 0, 512 * 4);
    CHECK(
        extended_copy(rig, parameter_list({0, 1}, {{0, 1, 4, 0, 0}, {1, 0, 4, 0, 64}}, 7)).good());
    CHECK(rig.content(0, 64 * 512, 512 * 4) == block);
    Command& status = rig.finish(copy_in(0, 7));
    REQUIRE(status.good());
    // completed, 2 segments, 4 KiB
    CHECK(to_hex(status.data_in()) ==
          "00000008"
          "01"
          "0002"
          "01"
          "00000004");
    CHECK(to_hex(rig.finish(copy_in(4, 7)).data_in()) == "00000000");
}

TEST_CASE("what a source has not is cleared, not copied") {
    CopyRig rig;
    rig.fill(1, 0, CopyRig::kBytes, 2);
    CHECK(extended_copy(rig, parameter_list({0, 1}, {{0, 1, 1024, 0, 8}})).good());
    CHECK(rig.disks[0]->submitted.empty());
    CHECK(rig.content(1, 8 * 512, 1024 * 512) == Buffer(1024 * 512));
}

TEST_CASE("a long copy gives way after a bounded amount") {
    CopyRig rig;
    rig.fill(0, 0, CopyRig::kBytes, 3);
    const Buffer list = parameter_list({0, 1}, {{0, 1, 4096, 0, 0}});  // 2 MiB
    Command& command = rig.run(copy_out(0, 0, list.size()), list);
    CHECK_FALSE(command.done);
    std::size_t turns = 0;
    for (; !command.done; ++turns) {
        std::size_t bytes = 0;
        for (const MemoryDisk::Seen& seen : rig.disks[1]->submitted) bytes += seen.length_bytes;
        CHECK(bytes == (turns + 1) * 256 * 1024);
        REQUIRE(rig.run(cdb(0x00)).good());  // others are served in between
        REQUIRE(rig.step());
    }
    CHECK(turns == 8);
    CHECK(command.good());
}

TEST_CASE("a parameter list that does not add up is refused before anything is copied") {
    struct Case {
        const char* name;
        std::function<void(Buffer&)> spoil;
        unsigned key, asc, ascq;
    };
    const auto set = [](std::size_t at, unsigned value) {
        return [=](Buffer& list) { list.at(at) = static_cast<std::uint8_t>(value); };
    };
    const std::size_t first_target = 16, first_segment = 16 + 64;
    const Case cases[] = {
        {"cut in the header", [](Buffer& list) { list.resize(15); }, 5, 0x1A, 0},
        {"cut in a CSCD descriptor", [](Buffer& list) { list.resize(47); }, 5, 0x1A, 0},
        {"cut in a segment", [](Buffer& list) { list.pop_back(); }, 5, 0x1A, 0},
        {"segment length not of whole segments", set(11, 27), 5, 0x1A, 0},
        {"segment list longer than allowed", set(8, 0xFF), 5, 0x1A, 0},
        {"CSCD list longer than allowed", set(2, 0xFF), 5, 0x1A, 0},
        {"CSCD list not of whole descriptors", set(3, 33), 5, 0x26, 0},
        {"inline data", set(15, 1), 5, 0x26, 0x0B},
        {"inline data of 4 GiB", set(12, 0xFF), 5, 0x26, 0x0B},
        {"reserved LIST ID USAGE", set(1, 0x08), 5, 0x26, 0},
        {"no list identifier, but one", set(1, 0x18), 5, 0x26, 0},
        {"Fibre Channel CSCD", set(first_target, 0xE0), 5, 0x26, 0x07},
        {"LU ID TYPE", set(first_target + 1, 0x40), 5, 0x26, 0},
        {"NUL", set(first_target + 1, 0x20), 0xA, 0x0D, 0x02},
        {"a tape", set(first_target + 1, 0x01), 0xA, 0x0D, 0x03},
        {"another NAA", set(first_target + 9, 0xFF), 0xA, 0x0D, 0x02},
        {"another designator type", set(first_target + 5, 0x01), 0xA, 0x0D, 0x02},
        {"another designator length", set(first_target + 7, 16), 0xA, 0x0D, 0x02},
        {"DISK BLOCK LENGTH", set(first_target + 30, 0x10), 5, 0x26, 0},
        {"stream to stream", set(first_segment, 0x03), 5, 0x26, 0x09},
        {"descriptor length", set(first_segment + 3, 0x14), 5, 0x26, 0},
        {"source index", set(first_segment + 5, 2), 0xA, 0x0D, 0x02},
        {"destination index", set(first_segment + 6, 0xFF), 0xA, 0x0D, 0x02},
        {"source past the end", set(first_segment + 18, 0x20), 0xA, 0, 0},
        {"source wraps round", set(first_segment + 12, 0xFF), 0xA, 0, 0},
        {"destination past the end", set(first_segment + 26, 0x1F), 0xA, 0, 0},
    };
    for (const Case& each : cases) {
        CAPTURE(each.name);
        CopyRig rig;
        Buffer list = parameter_list({0, 1}, {{0, 1, 0x180, 0, 0x80}});
        each.spoil(list);
        Command& command = extended_copy(rig, list);
        CHECK(command.sense(each.key, each.asc, each.ascq));
        CHECK(untouched(rig));
        CHECK(rig.device->tasks_in_flight() == 0);
    }
}

TEST_CASE("descriptor counts have limits") {
    CopyRig rig;
    const std::vector<unsigned> most(8, 0);
    const std::vector<Segment> segments(16, {0, 0, 1, 0, 5});
    CHECK(extended_copy(rig, parameter_list(most, segments)).good());
    CHECK(extended_copy(rig, parameter_list(std::vector<unsigned>(9, 0), {{0, 0, 1, 0, 5}}))
              .sense(5, 0x26, 0x06));
    CHECK(extended_copy(rig, parameter_list({0}, std::vector<Segment>(17, {0, 0, 1, 0, 5})))
              .sense(5, 0x26, 0x08));
    CHECK(extended_copy(rig, parameter_list(std::vector<unsigned>(9, 0),
                                            std::vector<Segment>(17, {0, 0, 1, 0, 5})))
              .sense(5, 0x1A, 0));
    CHECK(rig.finish(copy_out(0, 0, 0)).good());
    CHECK(rig.run(copy_out(0, 0, 1 << 20), Buffer(64)).sense(5, 0x1A, 0));
}

TEST_CASE("an announced list that does not come in full is refused") {
    CopyRig rig;
    Buffer list = parameter_list({0}, {{0, 0, 1, 0, 5}});
    const std::size_t announced = list.size();
    list.resize(20);
    CHECK(rig.finish(copy_out(0, 0, announced), list).sense(5, 0x1A, 0));
}

TEST_CASE("a segment that is no whole number of destination blocks is inexact") {
    CopyRig rig;
    CHECK(extended_copy(rig, parameter_list({0, 2}, {{0, 1, 9, 0, 0}})).sense(0xA, 0x26, 0x0A));
    CHECK(extended_copy(rig, parameter_list({2, 2}, {{0, 0, 0xFFFF, 0, 0}})).sense(5, 0x26, 0));
}

TEST_CASE("a copy's status while it runs, and its identifier is taken") {
    CopyRig rig;
    rig.fill(0, 0, CopyRig::kBytes, 3);
    rig.hold(true);
    const Buffer list = parameter_list({0, 1}, {{0, 1, 256, 0, 0}}, 9);
    Command& running = rig.run(copy_out(0, 0, list.size()), list);
    CHECK_FALSE(running.done);
    rig.disks[0]->finish_one();
    rig.disks[1]->finish_one();
    CHECK(to_hex(rig.run(copy_in(0, 9)).data_in()) ==
          "00000008"
          "00"
          "0000"
          "01"
          "00000040");
    CHECK(rig.run(copy_in(4, 9)).sense(5, 0x24, 0));
    CHECK(rig.run(copy_out(0, 0, list.size()), list).sense(5, 0x00, 0x16));
    // It is the identifier of one nexus.
    CHECK(rig.run(rig.second, copy_in(0, 9)).sense(5, 0x24, 0));
    rig.settle();
    CHECK(running.good());
    CHECK(rig.run(copy_in(0, 9)).data_in()[4] == 1);
    CHECK(rig.run(copy_in(0, 8)).sense(5, 0x24, 0));
}

TEST_CASE("copies beyond the limit are told to come again") {
    CopyRig rig;
    rig.fill(0, 0, CopyRig::kBytes, 3);
    rig.hold(true);
    std::vector<Command*> running;
    for (unsigned i = 0; i < 4; ++i) {
        const Buffer list = parameter_list({0, 1}, {{0, 1, 8, 0, 8u * i}}, i);
        running.push_back(&rig.run(copy_out(0, 0, list.size()), list));
    }
    const Buffer list = parameter_list({0, 1}, {{0, 1, 8, 0, 64}}, 0, 3);
    CHECK(rig.run(copy_out(0, 0, list.size()), list).task.status == Status::busy);
    rig.settle();
    for (Command* each : running) CHECK(each->good());
    rig.hold(false);
    CHECK(extended_copy(rig, list).good());
    CHECK(rig.run(copy_in(0, 0)).good());  // of the first one: 11b keeps no result
}

TEST_CASE("results are bounded, the oldest goes first") {
    CopyRig rig;
    for (unsigned i = 1; i <= 40; ++i)
        REQUIRE(extended_copy(rig, parameter_list({0, 1}, {{0, 1, 8, 0, 8}}, i)).good());
    CHECK(rig.run(copy_in(0, 8)).sense(5, 0x24, 0));
    for (unsigned i = 9; i <= 40; ++i) CHECK(rig.run(copy_in(0, i)).good());
}

TEST_CASE("a disk that fails ends the copy, and the details say why") {
    for (const bool later : {false, true}) {
        CopyRig rig;
        rig.fill(0, 0, CopyRig::kBytes, 4);
        rig.hold(later);
        const Buffer list = parameter_list({0, 1}, {{0, 1, 8, 0, 0}, {0, 1, 256, 0, 0}}, 3);
        rig.disks[1]->fail_next(disk::Operation::write, disk::Outcome::out_of_space);
        CHECK(extended_copy(rig, list).sense(0xA, 0x27, 0x07));
        CHECK(to_hex(rig.finish(copy_in(0, 3)).data_in()) ==
              "00000008"
              "02"
              "0000"
              "01"
              "00000000");
        const auto details = copy(rig.finish(copy_in(4, 3)).data_in());
        REQUIRE(details.size() == 60 + 18);
        CHECK(load_be32(&details[0]) == details.size() - 4);
        CHECK(details[56] == 0x02);
        CHECK(load_be16(&details[58]) == 18);
        CHECK(details[60 + 2] == 0x0A);
        CHECK(details[60 + 12] == 0x27);
        CHECK(details[60 + 13] == 0x07);
        CHECK(rig.finish(copy_in(4, 3)).data_in().size() == 4);
        rig.disks[0]->fail_next(disk::Operation::read, disk::Outcome::medium_error);
        CHECK(extended_copy(rig, list).sense(0xA, 0x11, 0x00));
        CHECK(extended_copy(rig, list).good());
    }
}

TEST_CASE("reservations and write protection of either unit stop a copy") {
    CopyRig rig;
    rig.fill(0, 0, CopyRig::kBytes, 4);
    const Buffer list = parameter_list({0, 1}, {{0, 1, 8, 0, 0}});
    const auto reserve = [&](std::uint64_t lun) {
        REQUIRE(rig.run(rig.second, cdb(0x16), {}, lun << 48).good());
    };
    const auto release = [&](std::uint64_t lun) {
        REQUIRE(rig.run(rig.second, cdb(0x17), {}, lun << 48).good());
    };
    reserve(0);
    CHECK(extended_copy(rig, list).task.status == Status::reservation_conflict);
    CHECK(extended_copy(rig, list, 1).sense(0xA, 0, 0));  // the source is another's
    release(0);
    reserve(1);
    CHECK(extended_copy(rig, list).sense(0xA, 0, 0));  // the destination is
    CHECK(rig.disks[1]->submitted.empty());
    release(1);
    // SWP of the control mode page of LUN 1.
    Buffer page = copy(
        rig.run(rig.first, cdb(0x1A).u8(1, 0x08).u8(2, 0x0A).u8(4, 255), {}, 1ull << 48).data_in());
    page[0] = 0;
    page[4 + 4] |= 0x08;
    const auto length = static_cast<unsigned>(page.size());
    REQUIRE(rig.run(rig.first, cdb(0x15).u8(1, 0x10).u8(4, length), page, 1ull << 48).good());
    CHECK(extended_copy(rig, list).sense(0xA, 0x27, 0x00));
    CHECK(rig.disks[1]->submitted.empty());
}

TEST_CASE("a reservation that comes while a copy runs stops it at the next piece") {
    CopyRig rig;
    rig.fill(0, 0, CopyRig::kBytes, 4);
    rig.hold(true);
    const Buffer list = parameter_list({0, 1}, {{0, 1, 256, 0, 0}});
    Command& running = rig.run(copy_out(0, 0, list.size()), list);
    rig.disks[0]->finish_one();
    rig.disks[1]->finish_one();
    REQUIRE(rig.run(rig.second, cdb(0x16), {}, 1ull << 48).good());
    rig.settle();
    CHECK(running.sense(0xA, 0, 0));
    CHECK(rig.disks[1]->submitted.size() == 1);
}

TEST_CASE("an aborted copy ends at its next piece and sends nothing") {
    for (const bool by_reset : {false, true}) {
        CopyRig rig;
        rig.fill(0, 0, CopyRig::kBytes, 4);
        rig.hold(true);
        const Buffer list = parameter_list({0, 1}, {{0, 1, 256, 0, 0}});
        Command& running = rig.run(copy_out(0, 0, list.size()), list);
        // Of the source's unit, and that of the destination, which ends the copy too.
        rig.device->manage(
            *rig.first, by_reset ? TaskManagement::logical_unit_reset : TaskManagement::abort_task,
            by_reset ? 1ull << 48 : 0, &running.task);
        rig.settle();
        CHECK(running.done);
        CHECK(running.task.aborted != by_reset);
        CHECK(running.sense(0xA, 0, 0));
        CHECK(rig.disks[1]->submitted.empty());
        CHECK(rig.device->tasks_in_flight() == 0);
    }
}

TEST_CASE("a copy does not write between the two halves of a compare and write") {
    CopyRig rig;
    rig.fill(0, 0, CopyRig::kBytes, 4);
    rig.fill(1, 0, CopyRig::kBytes, 5);
    const auto before = rig.content(1, 512, 512);
    Buffer both = before;
    both.insert(both.end(), 512, 0xAA);
    rig.disks[1]->hold = true;
    Command& compare = rig.run(rig.second, cdb(0x89).be64(2, 1).u8(13, 1), both, 1ull << 48);
    const Buffer list = parameter_list({0, 1}, {{0, 1, 8, 0, 0}});
    Command& copy = rig.run(copy_out(0, 0, list.size()), list);
    CHECK(rig.disks[1]->held.size() == 1);
    rig.step();
    CHECK(rig.disks[1]->held.size() == 1);
    rig.disks[1]->finish_one();
    CHECK(rig.disks[1]->submitted.back().operation == disk::Operation::write);
    rig.step();
    CHECK(rig.disks[1]->held.size() == 1);
    rig.settle();
    CHECK(compare.good());
    CHECK(copy.good());
    CHECK(rig.content(1, 0, 8 * 512) == rig.content(0, 0, 8 * 512));
}

TEST_CASE("a compare and write waits for the piece that a copy writes into its blocks") {
    for (const bool fails : {false, true}) {
        CopyRig rig;
        rig.fill(0, 0, CopyRig::kBytes, 4);
        const auto copied = rig.content(0, 512, 512);
        Buffer both = copied;
        both.insert(both.end(), 512, 0xAA);
        rig.disks[1]->hold = true;
        const Buffer list = parameter_list({0, 1}, {{0, 1, 8, 0, 0}});
        Command& copy = rig.run(copy_out(0, 0, list.size()), list);
        REQUIRE(rig.disks[1]->held.size() == 1);  // its write
        if (fails) rig.disks[1]->fail_next(disk::Operation::write, disk::Outcome::write_failed);
        Command& compare = rig.run(rig.second, cdb(0x89).be64(2, 1).u8(13, 1), both, 1ull << 48);
        Command& elsewhere = rig.run(rig.second, cdb(0x89).be64(2, 8).u8(13, 1), both, 1ull << 48);
        CHECK(rig.disks[1]->held.size() == 2);  // and the read of what lies elsewhere
        rig.settle();
        CHECK(elsewhere.sense(0xE, 0x1D, 0));
        CHECK(copy.good() == !fails);
        if (fails)
            CHECK(compare.sense(0xE, 0x1D, 0));
        else
            CHECK(compare.good());
        CHECK(rig.content(1, 512, 512) == Buffer(512, fails ? 0 : 0xAA));
        CHECK(rig.device->tasks_in_flight() == 0);
    }
}

TEST_CASE("operating parameters, byte by byte") {
    CopyRig rig;
    Command& command = rig.finish(copy_in(3, 0));
    REQUIRE(command.good());
    CHECK(to_hex(command.data_in()) ==
          "0000002a"
          "01000000"
          "0008"
          "0010"
          "000002c0"
          "02000000"
          "00000000"
          "00000000"
          "00000000"
          "0000"
          "0004"
          "04"
          "09"
          "00"
          "00"
          "000000"
          "02"
          "02e4");
    CHECK(rig.finish(copy_in(3, 0, 6)).data_in().size() == 6);
}

TEST_CASE("a CD-ROM is no end of a copy and says nothing of copies") {
    CopyRig rig({{.size_bytes = CopyRig::kBytes},
                 {.size_bytes = CopyRig::kBytes,
                  .logical_block_bytes = kDiscBlockBytes,
                  .read_only = true}});
    for (const Segment& segment : {Segment{1, 0, 1, 0, 0}, Segment{0, 1, 4, 0, 0}}) {
        Buffer list = parameter_list({0, 1}, {segment});
        store_be24(&list[16 + 32 + 29], kDiscBlockBytes);
        CHECK(extended_copy(rig, list).sense(0xA, 0x0D, 0x02));
    }
    CHECK(untouched(rig));
    const Buffer list = parameter_list({0}, {{0, 0, 1, 0, 0}});
    CHECK(extended_copy(rig, list, 1).sense(5, 0x20, 0x00));
    const auto inquiry = [&](std::uint64_t lun) {
        return rig.finish(cdb(0x12).be16(3, 96), {}, lun).data_in()[5];
    };
    CHECK(inquiry(0) == 0x08);
    CHECK(inquiry(1) == 0x00);
    CHECK(rig.finish(cdb(0x12).u8(1, 1).u8(2, 0x8F).be16(3, 255), {}, 1).sense(5, 0x24, 0x00));
}
