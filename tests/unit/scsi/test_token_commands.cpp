// POPULATE TOKEN, WRITE USING TOKEN and RECEIVE ROD TOKEN INFORMATION: lists that do not add up,
// copies in the background, reservations, and whose information it is.
#include <functional>

#include "common/hex.hpp"
#include "tests/unit/scsi/rod_token_rig.hpp"

using namespace goldlink;
using namespace goldlink::scsi;
using namespace goldlink::scsi::testing;

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
