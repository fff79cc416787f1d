#include "common/hex.hpp"
#include "target/scsi/transport_id.hpp"
#include "tests/unit/scsi/scsi_rig.hpp"

using namespace goldlink;
using namespace goldlink::scsi;
using namespace goldlink::scsi::testing;

namespace {

enum Action : unsigned {
    kRegister,
    kReserve,
    kRelease,
    kClear,
    kPreempt,
    kPreemptAndAbort,
    kRegisterAndIgnore,
    kMove
};
constexpr std::uint64_t kKey1 = 0x1111, kKey2 = 0x2222;

Command& out(Rig& rig, Nexus* nexus, Action action, std::uint64_t key, std::uint64_t action_key = 0,
             unsigned type = 0, unsigned flags = 0) {
    std::vector<std::uint8_t> list(24);
    store_be64(&list[0], key);
    store_be64(&list[8], action_key);
    list[20] = static_cast<std::uint8_t>(flags);
    return rig.run(nexus, cdb(0x5F).u8(1, action).u8(2, type).be32(5, 24), list);
}

std::string in(Rig& rig, unsigned action) {
    Command& command = rig.run(cdb(0x5E).u8(1, action).be16(7, 1024));
    REQUIRE(command.good());
    return to_hex(command.data_in());
}

bool conflict(const Command& command) {
    return command.done && command.task.status == Status::reservation_conflict;
}

void register_both(Rig& rig) {
    REQUIRE(out(rig, rig.first, kRegister, 0, kKey1).good());
    REQUIRE(out(rig, rig.second, kRegister, 0, kKey2).good());
}

}  // namespace

TEST_CASE("reserve 6 keeps the other nexus out until release, session end or reset") {
    Rig rig;
    REQUIRE(rig.run(rig.first, cdb(0x16)).good());
    REQUIRE(rig.run(rig.first, cdb(0x16)).good());
    CHECK(conflict(rig.run(rig.second, cdb(0x16))));
    CHECK(conflict(rig.run(rig.second, cdb(0x00))));
    CHECK(conflict(rig.run(rig.second, read10(0, 1))));
    CHECK(rig.run(rig.second, cdb(0x12).be16(3, 36)).good());
    CHECK(rig.run(rig.second, cdb(0xA0).be32(6, 64)).good());
    CHECK(rig.run(rig.second, cdb(0x03).u8(4, 18)).good());
    CHECK(rig.run(rig.second, cdb(0x17)).good());  // no effect
    CHECK(conflict(rig.run(rig.second, cdb(0x00))));
    CHECK(conflict(out(rig, rig.second, kRegister, 0, kKey2)));
    CHECK(rig.run(rig.first, read10(0, 1)).good());
    REQUIRE(rig.run(rig.first, cdb(0x17)).good());
    CHECK(rig.run(rig.second, read10(0, 1)).good());
    REQUIRE(rig.run(rig.first, cdb(0x16)).good());
    rig.device->close_nexus(std::exchange(rig.first, nullptr));
    CHECK(rig.run(rig.second, read10(0, 1)).good());
}

TEST_CASE("registering: keys, unregistering, wrong keys, and the reports") {
    Rig rig;
    CHECK(in(rig, 0) == "0000000000000000");
    CHECK(conflict(out(rig, rig.first, kRegister, 5, kKey1)));
    register_both(rig);
    CHECK(in(rig, 0) ==
          "00000002"
          "00000010"
          "0000000000001111"
          "0000000000002222");
    CHECK(in(rig, 1) == "0000000200000000");
    CHECK(in(rig, 2) ==
          "0008"
          "0c"
          "80"
          "ea01"
          "0000");
    CHECK(conflict(out(rig, rig.first, kRegister, kKey2, 7)));
    CHECK(out(rig, rig.first, kRegister, kKey1, 0x3333).good());
    CHECK(out(rig, rig.second, kRegisterAndIgnore, 99, 0x4444).good());
    CHECK(in(rig, 0) ==
          "00000004"
          "00000010"
          "0000000000003333"
          "0000000000004444");
    CHECK(out(rig, rig.second, kRegister, 0x4444, 0).good());
    CHECK(in(rig, 0) ==
          "00000005"
          "00000008"
          "0000000000003333");
    CHECK(conflict(rig.run(cdb(0x16))));  // the old command does not mix
    // what REPORT CAPABILITIES does not offer
    CHECK(out(rig, rig.first, kRegister, 0x3333, 1, 0, 1).sense(5, 0x26, 0x00));
    CHECK(rig.run(cdb(0x5F).be32(5, 23), std::vector<std::uint8_t>(23)).sense(5, 0x1A, 0x00));
    CHECK(rig.run(cdb(0x5F).u8(1, 8).be32(5, 24), std::vector<std::uint8_t>(24))
              .sense(5, 0x24, 0x00));
}

TEST_CASE("who may do what under each type of reservation") {
    struct Row {
        unsigned type;
        bool stranger_reads, registrant_writes, stranger_writes;
    };
    constexpr Row kRows[] = {{1, true, false, false}, {3, false, false, false},
                             {5, true, true, false},  {6, false, true, false},
                             {7, true, true, false},  {8, false, true, false}};
    for (const Row& row : kRows) {
        CAPTURE(row.type);
        Rig rig;
        Nexus* stranger = rig.device->open_nexus("iqn.2026-11.test:stranger,i,0x1", 1);
        rig.run(stranger, cdb(0x00));
        register_both(rig);
        REQUIRE(out(rig, rig.first, kReserve, kKey1, 0, row.type).good());
        const auto data = pattern(512, 1);
        CHECK(rig.run(rig.first, write10(0, 1), data).good());
        CHECK(conflict(rig.run(stranger, read10(0, 1))) == !row.stranger_reads);
        CHECK(conflict(rig.run(stranger, write10(0, 1), data)) == !row.stranger_writes);
        CHECK(conflict(rig.run(rig.second, write10(0, 1), data)) == !row.registrant_writes);
        CHECK(conflict(rig.run(rig.second, read10(0, 1))) == (row.type == 3));
        CHECK(rig.run(stranger, cdb(0x00)).good());
        CHECK(rig.run(stranger, cdb(0x25)).good());
        CHECK(rig.run(stranger, cdb(0x5E).be16(7, 255)).good());
        rig.device->close_nexus(stranger);
    }
}

TEST_CASE("reserve and release: same again, another type, wrong type, not the holder") {
    Rig rig;
    register_both(rig);
    CHECK(conflict(out(rig, rig.first, kReserve, kKey2, 0, 1)));
    for (const unsigned type : {0u, 2u, 4u, 9u, 0x11u})
        CHECK(out(rig, rig.first, kReserve, kKey1, 0, type).sense(5, 0x24, 0x00));
    REQUIRE(out(rig, rig.first, kReserve, kKey1, 0, 5).good());
    CHECK(in(rig, 1) ==
          "00000002"
          "00000010"
          "0000000000001111"
          "00000000"
          "00"
          "05"
          "0000");
    CHECK(out(rig, rig.first, kReserve, kKey1, 0, 5).good());
    CHECK(conflict(out(rig, rig.first, kReserve, kKey1, 0, 6)));
    CHECK(conflict(out(rig, rig.second, kReserve, kKey2, 0, 5)));
    CHECK(out(rig, rig.second, kRelease, kKey2, 0, 5).good());  // no effect
    CHECK(out(rig, rig.first, kRelease, kKey1, 0, 6).sense(5, 0x26, 0x04));
    CHECK(out(rig, rig.first, kRelease, kKey1, 0, 5).good());
    CHECK(rig.run(rig.second, cdb(0x00)).sense(6, 0x2A, 0x04));
    CHECK(in(rig, 1) == "0000000200000000");
    CHECK(out(rig, rig.first, kRelease, kKey1, 0, 5).good());
}

TEST_CASE("a holder that unregisters releases; of all registrants only the last does") {
    Rig rig;
    register_both(rig);
    REQUIRE(out(rig, rig.first, kReserve, kKey1, 0, 6).good());
    REQUIRE(out(rig, rig.first, kRegister, kKey1, 0).good());
    CHECK(rig.run(rig.second, cdb(0x00)).sense(6, 0x2A, 0x04));
    CHECK(in(rig, 1) == "0000000300000000");

    REQUIRE(out(rig, rig.first, kRegister, 0, kKey1).good());
    REQUIRE(out(rig, rig.first, kReserve, kKey1, 0, 8).good());
    REQUIRE(out(rig, rig.first, kRegister, kKey1, 0).good());
    CHECK(in(rig, 1) ==
          "00000005"
          "00000010"
          "0000000000000000"
          "00000000"
          "00"
          "08"
          "0000");
    REQUIRE(out(rig, rig.second, kRegister, kKey2, 0).good());
    CHECK(in(rig, 1) == "0000000600000000");
}

TEST_CASE("clear drops all and tells the others") {
    Rig rig;
    register_both(rig);
    REQUIRE(out(rig, rig.first, kReserve, kKey1, 0, 3).good());
    REQUIRE(out(rig, rig.second, kClear, kKey2).good());
    CHECK(rig.run(rig.first, cdb(0x00)).sense(6, 0x2A, 0x03));
    CHECK(in(rig, 0) == "0000000300000000");
    CHECK(rig.run(rig.second, write10(0, 1), pattern(512, 1)).good());
}

TEST_CASE("preempt takes the reservation over and unregisters its holder") {
    Rig rig;
    register_both(rig);
    REQUIRE(out(rig, rig.first, kReserve, kKey1, 0, 3).good());
    REQUIRE(out(rig, rig.second, kPreempt, kKey2, kKey1, 1).good());
    CHECK(rig.run(rig.first, cdb(0x00)).sense(6, 0x2A, 0x05));
    CHECK(in(rig, 0) ==
          "00000003"
          "00000008"
          "0000000000002222");
    CHECK(in(rig, 1) ==
          "00000003"
          "00000010"
          "0000000000002222"
          "00000000"
          "00"
          "01"
          "0000");
    CHECK(conflict(rig.run(rig.first, write10(0, 1), pattern(512, 1))));
    CHECK(conflict(out(rig, rig.first, kReserve, kKey1, 0, 3)));
}

TEST_CASE(
    "preempt without a matching reservation removes registrations, or conflicts, or refuses zero") {
    Rig rig;
    register_both(rig);
    CHECK(conflict(out(rig, rig.first, kPreempt, kKey1, 0x9999, 1)));
    CHECK(out(rig, rig.first, kPreempt, kKey1, 0, 1).sense(5, 0x26, 0x00));
    REQUIRE(out(rig, rig.first, kPreempt, kKey1, kKey2, 1).good());
    CHECK(rig.run(rig.second, cdb(0x00)).sense(6, 0x2A, 0x05));
    CHECK(in(rig, 0) ==
          "00000003"
          "00000008"
          "0000000000001111");
    CHECK(in(rig, 1) == "0000000300000000");
}

TEST_CASE("preempt with key zero takes over from all registrants") {
    Rig rig;
    register_both(rig);
    REQUIRE(out(rig, rig.first, kReserve, kKey1, 0, 7).good());
    REQUIRE(out(rig, rig.second, kPreempt, kKey2, 0, 3).good());
    CHECK(rig.run(rig.first, cdb(0x00)).sense(6, 0x2A, 0x05));
    CHECK(in(rig, 1) ==
          "00000003"
          "00000010"
          "0000000000002222"
          "00000000"
          "00"
          "03"
          "0000");
}

TEST_CASE("preempt and abort also ends the tasks of the preempted") {
    for (const auto& [action, aborted] : {std::pair{kPreempt, false}, {kPreemptAndAbort, true}}) {
        Rig rig;
        register_both(rig);
        REQUIRE(out(rig, rig.first, kReserve, kKey1, 0, 3).good());
        rig.disk->hold = true;
        Command& read = rig.run(rig.first, read10(0, 1));
        REQUIRE(out(rig, rig.second, action, kKey2, kKey1, 3).good());
        CHECK(read.task.aborted == aborted);
    }
}

TEST_CASE("a session that comes back with the same port has its registration again") {
    Rig rig;
    register_both(rig);
    REQUIRE(out(rig, rig.first, kReserve, kKey1, 0, 3).good());
    rig.device->close_nexus(rig.first);
    rig.first = rig.device->open_nexus("iqn.2026-11.test:one,i,0x400001370000", 1);
    rig.run(rig.first, cdb(0x00));
    CHECK(rig.run(rig.first, write10(0, 1), pattern(512, 1)).good());
    CHECK(conflict(rig.run(rig.second, read10(0, 1))));
}

TEST_CASE("read full status names the ports") {
    Rig rig;
    register_both(rig);
    REQUIRE(out(rig, rig.second, kReserve, kKey2, 0, 5).good());
    const std::string one =
        "45000028" + to_hex(as_bytes("iqn.2026-11.test:one,i,0x400001370000")) + "000000";
    const std::string two =
        "45000028" + to_hex(as_bytes("iqn.2026-11.test:two,i,0x400001370001")) + "000000";
    CHECK(in(rig, 3) ==
          "00000002"
          "00000088"
          "0000000000001111"
          "00000000"
          "0000"
          "00000000"
          "0001"
          "0000002c" +
              one +
              "0000000000002222"
              "00000000"
              "0105"
              "00000000"
              "0001"
              "0000002c" +
              two);
}

TEST_CASE("register and move gives the reservation to another port") {
    Rig rig;
    register_both(rig);
    REQUIRE(out(rig, rig.first, kReserve, kKey1, 0, 3).good());
    const auto move = [&](Nexus* nexus, std::uint64_t key, std::string_view port,
                          unsigned flags) -> Command& {
        const auto id = encode_transport_id(port);
        std::vector<std::uint8_t> list(24 + id.size());
        store_be64(&list[0], key);
        store_be64(&list[8], 0x7777);
        list[17] = static_cast<std::uint8_t>(flags);
        store_be16(&list[18], 1);
        store_be32(&list[20], static_cast<std::uint32_t>(id.size()));
        std::copy(id.begin(), id.end(), list.begin() + 24);
        return rig.run(
            nexus, cdb(0x5F).u8(1, kMove).u8(2, 3).be32(5, static_cast<std::uint32_t>(list.size())),
            list);
    };
    CHECK(conflict(move(rig.second, kKey2, "iqn.2026-11.test:three,i,0x3", 0)));
    CHECK(move(rig.first, kKey1, "iqn.2026-11.test:one,i,0x400001370000", 0).sense(5, 0x26, 0x00));
    REQUIRE(move(rig.first, kKey1, "iqn.2026-11.test:three,i,0x3", 2).good());
    CHECK(conflict(rig.run(rig.first, read10(0, 1))));
    Nexus* third = rig.device->open_nexus("iqn.2026-11.test:three,i,0x3", 1);
    rig.run(third, cdb(0x00));
    CHECK(rig.run(third, write10(0, 1), pattern(512, 1)).good());
    rig.device->close_nexus(third);
    CHECK(in(rig, 0) ==
          "00000003"
          "00000010"
          "0000000000002222"
          "0000000000007777");
}

TEST_CASE("transport ids: padding, bounds, garbage") {
    CHECK(encode_transport_id("a,i,0x1").size() == 24);
    CHECK(decode_transport_id(encode_transport_id("iqn.x:y,i,0x400000000001")) ==
          "iqn.x:y,i,0x400000000001");
    CHECK(encode_transport_id(std::string(400, 'x')).size() == 248);
    // They are kept, shown and reported: only what could log in is registered.
    for (const std::string port : {"iqn.x:\xff\xfe,i,0x1", "iqn.x:\x1b[31m,i,0x1", "somebody,i,0x1",
                                   "iqn.x:y,i,0xzz", "iqn.x:y,i,0x"})
        CHECK_FALSE(decode_transport_id(encode_transport_id(port)));
    auto id = encode_transport_id("iqn.x:y,i,0x400000000001");
    for (std::size_t length = 0; length < id.size(); ++length)
        CHECK_FALSE(decode_transport_id(Bytes(id).first(length)));
    id[0] = 0x05;
    CHECK_FALSE(decode_transport_id(id));
    id[0] = 0x45;
    std::fill(id.begin() + 4, id.end(), std::uint8_t{'x'});
    CHECK_FALSE(decode_transport_id(id));
}

TEST_CASE("registrations are bounded") {
    Rig rig;
    Command* last = nullptr;
    for (int i = 0; i < 129; ++i) {
        Nexus* nexus =
            rig.device->open_nexus("iqn.2026-11.test:n" + std::to_string(i) + ",i,0x1", 1);
        rig.run(nexus, cdb(0x00));
        last = &out(rig, nexus, kRegister, 0, kKey1);
        rig.device->close_nexus(nexus);
    }
    CHECK(last->sense(5, 0x55, 0x04));
}
