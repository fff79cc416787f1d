// SANITIZE: what it leaves, what it holds off meanwhile, what outlives what.
#include "common/hex.hpp"
#include "tests/unit/scsi/scsi_rig.hpp"

using namespace goldlink;
using namespace goldlink::scsi;
using namespace goldlink::scsi::testing;

namespace {

enum Action : unsigned { kOverwrite = 0x01, kBlockErase = 0x02, kExitFailure = 0x1F };
constexpr unsigned kImmediate = 0x80, kAllowUnrestricted = 0x20;

Cdb sanitize(unsigned flags_and_action, std::uint16_t list_length = 0) {
    return cdb(0x48).u8(1, flags_and_action).be16(7, list_length);
}

std::vector<std::uint8_t> overwrite_list(unsigned flags, const std::vector<std::uint8_t>& pattern) {
    std::vector<std::uint8_t> list(4);
    list[0] = static_cast<std::uint8_t>(flags);
    store_be16(&list[2], static_cast<std::uint16_t>(pattern.size()));
    list.insert(list.end(), pattern.begin(), pattern.end());
    return list;
}

Command& overwrite(Rig& rig, unsigned flags, const std::vector<std::uint8_t>& pattern) {
    const auto list = overwrite_list(flags, pattern);
    return rig.run(sanitize(kOverwrite, static_cast<std::uint16_t>(list.size())), list);
}

void soil(Rig& rig) { std::fill_n(rig.disk->data(), kDiskBytes, std::uint8_t{'a'}); }

bool is_all(Rig& rig, std::uint8_t byte) {
    return std::all_of(rig.disk->data(), rig.disk->data() + kDiskBytes,
                       [&](std::uint8_t each) { return each == byte; });
}

std::string hex_of(const Sense& sense) {
    std::array<std::uint8_t, 64> raw{};
    return to_hex(Bytes(raw).first(encode_sense(sense, false, raw)));
}

}  // namespace

TEST_CASE("block erase leaves zeroes, flushed, and answers at its end") {
    Rig rig;
    soil(rig);
    Command& erase = rig.run(sanitize(kBlockErase));
    CHECK_FALSE(erase.done);
    rig.finish_background();
    CHECK(erase.good());
    CHECK(erase.completions == 1);
    CHECK(is_all(rig, 0));
    CHECK(rig.disk->submitted.back().operation == disk::Operation::flush);
    CHECK(rig.run(cdb(0x00)).good());
}

TEST_CASE("with IMMED the answer comes first, and the unit is not ready until the end") {
    Rig rig;
    soil(rig);
    CHECK(rig.run(sanitize(kBlockErase | kImmediate)).good());
    CHECK(rig.run(rig.second, cdb(0x00)).sense(2, 0x04, 0x1B));
    rig.finish_background();
    CHECK(rig.run(rig.second, cdb(0x00)).good());
    CHECK(is_all(rig, 0));
}

TEST_CASE("a step of the background is one bounded request") {
    Rig rig({.size_bytes = 160u << 20});
    REQUIRE(rig.run(sanitize(kBlockErase | kImmediate)).good());
    std::size_t steps = 0;
    while (rig.step()) {
        ++steps;
        CHECK(rig.disk->submitted.size() == steps);
        CHECK(rig.disk->submitted.back().length_bytes <= 64u << 20);
    }
    CHECK(steps == 4);  // 64, 64 and 32 MiB, and the flush
}

TEST_CASE("overwrite leaves the last pass's pattern in every block") {
    struct Row {
        unsigned flags;  // INVERT, OVERWRITE COUNT
        std::vector<std::uint8_t> pattern;
        std::string begins;  // of each block
    };
    const Row rows[] = {{0x01, {0xAA}, "aaaaaaaa"},       {0x81, {0xAA}, "aaaaaaaa"},
                        {0x82, {0xAA}, "55555555"},       {0x83, {0x12, 0x34, 0x56}, "12345612"},
                        {0x1F, {1, 2, 3, 4}, "01020304"}, {0x01, {0, 0}, "00000000"},
                        {0x82, {0xFF}, "00000000"}};
    for (const Row& row : rows) {
        CAPTURE(row.flags, row.begins);
        Rig rig({.size_bytes = 1u << 20});
        std::fill_n(rig.disk->data(), 1u << 20, std::uint8_t{'a'});
        Command& command = overwrite(rig, row.flags, row.pattern);
        rig.finish_background();
        REQUIRE(command.good());
        for (std::size_t block = 0; block < 1u << 20; block += 512)
            REQUIRE(to_hex(Bytes(rig.disk->data() + block, 4)) == row.begins);
        // A pattern of zeroes takes no space.
        const bool writes =
            std::any_of(rig.disk->submitted.begin(), rig.disk->submitted.end(),
                        [](const auto& seen) { return seen.operation == disk::Operation::write; });
        CHECK(writes == (row.begins != "00000000"));
    }
}

TEST_CASE("sanitize: fields that are refused") {
    Rig rig;
    const std::vector<std::uint8_t> pattern(512, 0xAA);
    CHECK(rig.run(sanitize(0x03)).sense(5, 0x24, 0x00));  // no keys to change
    CHECK(rig.run(sanitize(0x00)).sense(5, 0x24, 0x00));
    CHECK(rig.run(sanitize(kBlockErase | 0x40)).sense(5, 0x24, 0x00));
    for (std::size_t byte = 2; byte < 7; ++byte)
        CHECK(rig.run(sanitize(kBlockErase).u8(byte, 1)).sense(5, 0x24, 0x00));
    CHECK(rig.run(sanitize(kBlockErase, 8), pattern).sense(5, 0x24, 0x00));
    CHECK(rig.run(sanitize(kExitFailure, 8), pattern).sense(5, 0x24, 0x00));
    for (const unsigned length : {0u, 4u, 517u})
        CHECK(rig.run(sanitize(kOverwrite, static_cast<std::uint16_t>(length)),
                      std::vector<std::uint8_t>(length))
                  .sense(5, 0x24, 0x00));
    CHECK(overwrite(rig, 0x00, pattern).sense(5, 0x26, 0x00));  // no pass
    CHECK(overwrite(rig, 0x21, pattern).sense(5, 0x26, 0x00));  // TEST
    auto list = overwrite_list(0x01, pattern);
    store_be16(&list[2], 0);
    CHECK(rig.run(sanitize(kOverwrite, 516), list).sense(5, 0x26, 0x00));
    store_be16(&list[2], 513);
    CHECK(rig.run(sanitize(kOverwrite, 516), list).sense(5, 0x26, 0x00));
    list.resize(100);
    CHECK(rig.run(sanitize(kOverwrite, 516), list).sense(5, 0x1A, 0x00));
    CHECK(rig.run(sanitize(kExitFailure)).good());
    CHECK_FALSE(rig.woken);
    CHECK(rig.disk->submitted.empty());
}

TEST_CASE("while sanitizing only what every state answers is answered, with the progress") {
    Rig rig({.size_bytes = 256u << 20});
    REQUIRE(rig.run(sanitize(kBlockErase | kImmediate)).good());
    rig.step();
    for (const Cdb& refused :
         {cdb(0x00), read10(0, 1), cdb(0x25), cdb(0x1B).u8(4, 1), cdb(0x1A).u8(2, 0x3F).u8(4, 255),
          sanitize(kBlockErase), sanitize(kExitFailure), cdb(0x35)})
        CHECK(rig.run(refused).sense(2, 0x04, 0x1B));
    CHECK(rig.run(write10(0, 1), pattern(512, 1)).sense(2, 0x04, 0x1B));
    CHECK(rig.run(cdb(0x12).be16(3, 255)).good());
    CHECK(rig.run(cdb(0xA0).be32(6, 64)).good());
    CHECK(hex_of(rig.run(cdb(0x00)).task.sense) == "700002000000000a00000000041b00804000");
    CHECK(to_hex(rig.run(cdb(0x03).u8(4, 18)).data_in()) == "700002000000000a00000000041b00804000");
    rig.finish_background();
    CHECK(to_hex(rig.run(cdb(0x03).u8(4, 18)).data_in()) == "700000000000000a00000000000000000000");
}

TEST_CASE("sanitize waits for commands that run, and what came later is held off") {
    Rig rig;
    rig.disk->hold = true;
    Command& write = rig.run(rig.second, write10(0, 1), pattern(512, 1));
    Command& late = rig.make(rig.second, write10(8, 1), pattern(512, 2));
    REQUIRE(rig.prepare(late));  // its data is still on the way
    Command& erase = rig.run(sanitize(kBlockErase));
    CHECK_FALSE(rig.woken);
    rig.disk->finish_one();
    CHECK(write.good());
    REQUIRE(rig.woken);
    CHECK(rig.run(rig.second, cdb(0x12).be16(3, 255)).good());
    rig.disk->hold = false;
    rig.execute(late);
    CHECK_FALSE(late.done);
    rig.finish_background();
    CHECK(erase.good());
    CHECK(late.good());
    CHECK(rig.disk->data()[0] == 0);
    CHECK(rig.disk->data()[8 * 512] == pattern(512, 2)[0]);
}

TEST_CASE("what was accepted before an immediate sanitize does not write behind it") {
    Rig rig;
    Command& late = rig.make(rig.second, write10(8, 1), pattern(512, 2));
    REQUIRE(rig.prepare(late));
    REQUIRE(rig.run(sanitize(kBlockErase | kImmediate)).good());
    rig.execute(late);
    CHECK(late.sense(2, 0x04, 0x1B));
    rig.finish_background();
    CHECK(is_all(rig, 0));
}

TEST_CASE("the operation outlives aborts, resets and sessions; the task does not") {
    const auto abort_task = [](Rig& rig, Command& erase) {
        rig.device->manage(*rig.first, TaskManagement::abort_task, 0, &erase.task);
    };
    const auto reset = [](Rig& rig, Command&) {
        rig.device->manage(*rig.second, TaskManagement::logical_unit_reset, 0, nullptr);
    };
    const auto cold_reset = [](Rig& rig, Command&) {
        rig.device->manage(*rig.second, TaskManagement::target_cold_reset, 0, nullptr);
    };
    const auto lost = [](Rig& rig, Command&) { rig.device->nexus_lost(*rig.first); };
    const std::function<void(Rig&, Command&)> ways[] = {abort_task, reset, cold_reset, lost};
    for (const auto& way : ways) {
        for (const bool in_flight : {false, true}) {
            Rig rig;
            soil(rig);
            Command& erase = rig.run(sanitize(kBlockErase));
            rig.disk->hold = in_flight;
            if (in_flight) rig.step();
            way(rig, erase);
            rig.step();
            CHECK(erase.done);
            CHECK(erase.task.aborted);
            CHECK(erase.completions == 1);
            rig.device->close_nexus(std::exchange(rig.first, nullptr));
            Command& ready = rig.run(rig.second, cdb(0x00));
            if (ready.task.sense.key == 6)
                CHECK(rig.run(rig.second, cdb(0x00)).sense(2, 0x04, 0x1B));
            else
                CHECK(ready.sense(2, 0x04, 0x1B));
            rig.disk->hold = false;
            rig.disk->finish_all();
            rig.finish_background();
            CHECK(is_all(rig, 0));
            CHECK(rig.run(rig.second, cdb(0x00)).good());
        }
    }
}

TEST_CASE("a failed sanitize bars the unit until another succeeds, or the failure may be left") {
    for (const unsigned flags : {0u, kAllowUnrestricted}) {
        CAPTURE(flags);
        Rig rig;
        soil(rig);
        rig.disk->fail_next(disk::Operation::write_zeroes, disk::Outcome::write_failed);
        Command& erase = rig.run(sanitize(kBlockErase | flags));
        rig.finish_background();
        CHECK(erase.sense(3, 0x31, 0x03));
        CHECK(rig.run(rig.second, read10(0, 1)).sense(3, 0x31, 0x03));
        CHECK(rig.run(cdb(0x12).be16(3, 255)).good());
        Command& leave = rig.run(sanitize(kExitFailure));
        if (flags != 0) {
            CHECK(leave.good());
            CHECK(rig.run(read10(0, 1)).good());
            continue;
        }
        CHECK(leave.sense(5, 0x24, 0x00));
        CHECK(rig.run(sanitize(kBlockErase | kAllowUnrestricted)).sense(5, 0x24, 0x00));
        REQUIRE(rig.run(sanitize(kBlockErase | kImmediate)).good());
        rig.finish_background();
        CHECK(rig.run(read10(0, 1)).good());
        CHECK(is_all(rig, 0));
    }
}

TEST_CASE("sanitize respects reservations and write protection") {
    Rig rig;
    REQUIRE(rig.run(rig.second, cdb(0x16)).good());
    CHECK(rig.run(sanitize(kBlockErase)).task.status == Status::reservation_conflict);
    Rig read_only({.size_bytes = 1u << 20, .read_only = true});
    CHECK(read_only.run(sanitize(kBlockErase)).sense(7, 0x27, 0x00));
}

TEST_CASE("a device that cannot work in the background has no sanitize") {
    Rig rig;
    for (Nexus** nexus : {&rig.first, &rig.second})
        rig.device->close_nexus(std::exchange(*nexus, nullptr));
    std::vector<LogicalUnitDefinition> units(1);
    units[0].disk = rig.disk;
    rig.device = std::make_unique<Device>("iqn.2026-11.io.goldlink:plain", std::move(units));
    rig.first = rig.device->open_nexus("iqn.2026-11.test:one,i,0x1", 1);
    rig.run(cdb(0x00));
    CHECK(rig.run(sanitize(kBlockErase)).sense(5, 0x20, 0x00));
    CHECK(to_hex(
              rig.run(cdb(0xA3).u8(1, 0x0C).u8(2, 3).u8(3, 0x48).u8(5, 2).be32(6, 64)).data_in()) ==
          "00010000");
}
