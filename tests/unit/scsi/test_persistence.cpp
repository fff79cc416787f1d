// Reservations: SPEC_I_PT, ALL_TG_PT, and what outlives the device (APTPL, a running SANITIZE).
#include "common/hex.hpp"
#include "target/scsi/transport_id.hpp"
#include "tests/unit/scsi/scsi_rig.hpp"

using namespace goldlink;
using namespace goldlink::scsi;
using namespace goldlink::scsi::testing;

namespace {

constexpr unsigned kRegister = 0, kReserve = 1, kRelease = 2, kClear = 3, kPreempt = 4,
                   kRegisterAndIgnore = 6;
constexpr unsigned kPersist = 1, kAllTargetPorts = 4, kSpecifyPorts = 8;
constexpr std::uint64_t kKey1 = 0x1111, kKey2 = 0x2222;
constexpr disk::Geometry kDisk{.size_bytes = kDiskBytes};
const std::string kPort1 = "iqn.2026-11.test:one,i,0x400001370000";
const std::string kPort2 = "iqn.2026-11.test:two,i,0x400001370001";
const std::string kPort3 = "iqn.2026-11.test:three,i,0x400001370002";

std::vector<std::uint8_t> list_of(std::uint64_t key, std::uint64_t action_key, unsigned flags,
                                  const std::vector<std::string>& ports = {}) {
    std::vector<std::uint8_t> list(24);
    store_be64(&list[0], key);
    store_be64(&list[8], action_key);
    list[20] = static_cast<std::uint8_t>(flags);
    if (ports.empty()) return list;
    list.resize(28);
    for (const std::string& port : ports) {
        const auto id = encode_transport_id(port);
        list.insert(list.end(), id.begin(), id.end());
    }
    store_be32(&list[24], static_cast<std::uint32_t>(list.size() - 28));
    return list;
}

Command& send(Rig& rig, Nexus* nexus, unsigned action, unsigned type,
              const std::vector<std::uint8_t>& list) {
    return rig.run(
        nexus, cdb(0x5F).u8(1, action).u8(2, type).be32(5, static_cast<std::uint32_t>(list.size())),
        list);
}

std::string in(Rig& rig, unsigned action) {
    return to_hex(rig.run(cdb(0x5E).u8(1, action).be16(7, 1024)).data_in());
}

PersistentRegistration registration(const std::string& port, std::uint64_t key,
                                    bool holder = false) {
    return {port, 1, key, false, holder};
}

}  // namespace

TEST_CASE("register answers when it is durable") {
    Rig rig(kDisk, true);
    CHECK(in(rig, 2) == "00080d80ea010000");
    Command& command = send(rig, rig.first, kRegister, 0, list_of(0, kKey1, kPersist));
    CHECK_FALSE(command.done);
    const PersistentUnit expected{{registration(kPort1, kKey1)}, 0, {}};
    CHECK(rig.end_save() == expected);
    CHECK(command.good());
    CHECK(command.completions == 1);
    CHECK(in(rig, 2) == "00080d81ea010000");
}

TEST_CASE("each change is saved while registrations persist, and their end too") {
    Rig rig(kDisk, true);
    const auto change = [&](Nexus* nexus, unsigned action, unsigned type, std::uint64_t key,
                            std::uint64_t action_key, unsigned flags = kPersist) {
        rig.run(nexus, cdb(0x00));  // takes an attention about what the other nexus did
        Command& command = send(rig, nexus, action, type, list_of(key, action_key, flags));
        REQUIRE_FALSE(command.done);
        const PersistentUnit state = rig.end_save();
        REQUIRE(command.good());
        return state;
    };
    change(rig.first, kRegister, 0, 0, kKey1);
    CHECK(change(rig.second, kRegister, 0, 0, kKey2).registrations.size() == 2);
    const PersistentUnit held = change(rig.first, kReserve, 5, kKey1, 0);
    CHECK(held ==
          PersistentUnit{{registration(kPort1, kKey1, true), registration(kPort2, kKey2)}, 5, {}});
    CHECK(change(rig.first, kRelease, 5, kKey1, 0).reservation_type == 0);
    change(rig.first, kReserve, 3, kKey1, 0);
    CHECK(change(rig.second, kPreempt, 1, kKey2, kKey1) ==
          PersistentUnit{{registration(kPort2, kKey2, true)}, 1, {}});
    CHECK(change(rig.second, kClear, 0, kKey2, 0) == PersistentUnit{});
    change(rig.first, kRegister, 0, 0, kKey1);
    // The last registration's APTPL counts: without it what was kept is forgotten, durably.
    CHECK(change(rig.first, kRegister, 0, kKey1, 7, 0) == PersistentUnit{});
    CHECK(send(rig, rig.first, kReserve, 1, list_of(7, 0, 0)).good());
    CHECK(rig.saves.empty());
}

TEST_CASE("a save that fails fails its command") {
    Rig rig(kDisk, true);
    Command& command = send(rig, rig.first, kRegister, 0, list_of(0, kKey1, kPersist));
    Command& later = send(rig, rig.second, kRegister, 0, list_of(0, kKey2, kPersist));
    rig.end_save(false);
    CHECK(command.sense(4, 0x44, 0x00));
    CHECK_FALSE(later.done);
    CHECK(rig.end_save().registrations.size() == 2);
    CHECK(later.good());
}

TEST_CASE("an aborted command that waits for its save still completes, once") {
    Rig rig(kDisk, true);
    Command& command = send(rig, rig.first, kRegister, 0, list_of(0, kKey1, kPersist));
    rig.device->manage(*rig.first, TaskManagement::abort_task, 0, &command.task);
    rig.end_save();
    CHECK(command.completions == 1);
    CHECK(command.task.aborted);
}

TEST_CASE("a new device has what the one before it saved") {
    Rig rig(kDisk, true, {{registration(kPort1, kKey1), registration(kPort2, kKey2, true)}, 3, {}});
    CHECK(in(rig, 0) ==
          "00000000"
          "00000010"
          "0000000000001111"
          "0000000000002222");
    CHECK(in(rig, 2) == "00080d81ea010000");
    CHECK(rig.run(rig.first, read10(0, 1)).task.status == Status::reservation_conflict);
    CHECK(rig.run(rig.second, read10(0, 1)).good());
    Command& release = send(rig, rig.second, kRelease, 3, list_of(kKey2, 0, 0));
    CHECK(rig.end_save().reservation_type == 0);
    CHECK(release.good());
    CHECK(rig.run(rig.first, read10(0, 1)).good());
}

TEST_CASE("states that no unit was ever in are told from those that can be") {
    const auto one = registration(kPort1, kKey1), holder = registration(kPort2, kKey2, true);
    CHECK(is_possible({}));
    CHECK(is_possible({{one, holder}, 5, {}}));
    CHECK(is_possible({{one}, 7, {}}));
    CHECK_FALSE(is_possible({{one}, 5, {}}));             // nobody holds it
    CHECK_FALSE(is_possible({{holder, holder}, 5, {}}));  // two do
    CHECK_FALSE(is_possible({{one, holder}, 7, {}}));     // all do
    CHECK_FALSE(is_possible({{one, holder}, 0, {}}));     // of nothing
    CHECK_FALSE(is_possible({{one, holder}, 2, {}}));     // of an unknown type
    CHECK_FALSE(is_possible({{}, 8, {}}));
    CHECK_FALSE(is_possible({{registration(kPort1, 0)}, 0, {}}));
    CHECK_FALSE(is_possible({{registration("", 1)}, 0, {}}));
    CHECK_FALSE(is_possible({std::vector(129, one), 0, {}}));
}

TEST_CASE("SPEC_I_PT registers the ports it lists with the sender's, all or none") {
    Rig rig;
    const auto good = list_of(0, kKey1, kSpecifyPorts, {kPort2, kPort1, kPort3});
    REQUIRE(send(rig, rig.first, kRegister, 0, good).good());
    CHECK(in(rig, 0) ==
          "00000001"
          "00000018"
          "0000000000001111"
          "0000000000001111"
          "0000000000001111");
    CHECK(send(rig, rig.second, kReserve, 3, list_of(kKey1, 0, 0)).good());
    CHECK(rig.run(rig.first, read10(0, 1)).task.status == Status::reservation_conflict);

    Rig other;
    REQUIRE(send(other, other.second, kRegister, 0, list_of(0, kKey2, 0)).good());
    // one of the ports is registered already
    CHECK(send(other, other.first, kRegister, 0, list_of(0, kKey1, kSpecifyPorts, {kPort3, kPort2}))
              .sense(5, 0x26, 0x00));
    // the sender is
    CHECK(send(other, other.second, kRegister, 0, list_of(kKey2, kKey1, kSpecifyPorts, {kPort3}))
              .sense(5, 0x26, 0x00));
    CHECK(send(other, other.first, kRegisterAndIgnore, 0, list_of(0, kKey1, kSpecifyPorts))
              .sense(5, 0x26, 0x00));
    for (const std::size_t cut : {24u, 27u, 28u, 40u}) {
        auto list = list_of(0, kKey1, kSpecifyPorts, {kPort3});
        list.resize(cut);
        CAPTURE(cut);
        CHECK(send(other, other.first, kRegister, 0, list).sense(5, 0x1A, 0x00));
    }
    auto list = list_of(0, kKey1, kSpecifyPorts, {kPort3});
    list[28] = 0x05;  // a name without an ISID
    CHECK(send(other, other.first, kRegister, 0, list).sense(5, 0x26, 0x00));
    list = list_of(0, kKey1, kSpecifyPorts, {kPort3});
    store_be16(&list[30], 0);  // a TransportID of no length: refused, not an endless loop
    CHECK(send(other, other.first, kRegister, 0, list).sense(5, 0x26, 0x00));
    list = list_of(0, kKey1, 0, {kPort3});  // a list, but no bit for it
    CHECK(send(other, other.first, kRegister, 0, list).sense(5, 0x1A, 0x00));
    CHECK(in(other, 0) ==
          "00000001"
          "00000008"
          "0000000000002222");
}

TEST_CASE("ALL_TG_PT registers the port with every portal group") {
    Rig rig;
    Nexus* elsewhere = rig.device->open_nexus(kPort1, 2);
    rig.run(elsewhere, cdb(0x00));
    REQUIRE(send(rig, rig.first, kRegister, 0, list_of(0, kKey1, kAllTargetPorts)).good());
    CHECK(send(rig, elsewhere, kReserve, 1, list_of(kKey1, 0, 0)).good());
    CHECK(rig.run(rig.first, write10(0, 1), pattern(512, 1)).good());
    CHECK(rig.run(rig.second, write10(0, 1), pattern(512, 1)).task.status ==
          Status::reservation_conflict);
    CHECK(in(rig, 3).substr(16, 48) ==
          "0000000000001111"
          "00000000"
          "0301"
          "00000000"
          "0000"
          "0000002c");
    Nexus* later = rig.device->open_nexus(kPort1, 3);
    rig.run(later, cdb(0x00));
    CHECK(rig.run(later, write10(0, 1), pattern(512, 1)).good());
    for (Nexus* nexus : {elsewhere, later}) rig.device->close_nexus(nexus);
}

TEST_CASE("ALL_TG_PT does not register a port again that one portal group knows") {
    Rig rig;
    Nexus* elsewhere = rig.device->open_nexus(kPort1, 2);
    rig.run(elsewhere, cdb(0x00));
    REQUIRE(send(rig, elsewhere, kRegister, 0, list_of(0, kKey1, 0)).good());
    CHECK(send(rig, rig.first, kRegister, 0, list_of(0, kKey2, kAllTargetPorts)).task.status ==
          Status::reservation_conflict);
    const unsigned both = kAllTargetPorts | kSpecifyPorts;
    CHECK(send(rig, rig.second, kRegister, 0, list_of(0, kKey2, both, {kPort1}))
              .sense(5, 0x26, 0x00));
    CHECK(in(rig, 0) ==
          "00000001"
          "00000008"
          "0000000000001111");
    rig.device->close_nexus(elsewhere);
}

TEST_CASE("sanitize begins when that is durable, and ends when that is") {
    Rig rig(kDisk, true);
    Command& erase = rig.run(cdb(0x48).u8(1, 0x82));
    CHECK_FALSE(erase.done);
    CHECK(rig.disk->submitted.empty());
    CHECK(rig.run(rig.second, cdb(0x00)).sense(2, 0x04, 0x1B));
    CHECK(rig.end_save().sanitize == PersistentSanitize{});
    CHECK(erase.good());  // IMMED
    rig.finish_background();
    CHECK(rig.run(rig.second, cdb(0x00)).sense(2, 0x04, 0x1B));
    CHECK_FALSE(rig.end_save().sanitize);
    CHECK(rig.run(rig.second, cdb(0x00)).good());
}

TEST_CASE("sanitize that cannot be recorded does not begin") {
    Rig rig(kDisk, true);
    Command& erase = rig.run(cdb(0x48).u8(1, 0x02));
    rig.end_save(false);
    CHECK(erase.sense(4, 0x44, 0x00));
    CHECK_FALSE(rig.step());
    CHECK(rig.disk->submitted.empty());
    CHECK(rig.run(rig.second, cdb(0x00)).good());
}

TEST_CASE("a sanitize that a power loss cut short begins again; a failure is still one") {
    const std::vector<std::uint8_t> block(512, 0xAA);
    Rig rig(kDisk, true, {{}, 0, PersistentSanitize{false, true, block}});
    rig.saves.clear();
    CHECK(rig.run(cdb(0x00)).sense(2, 0x04, 0x1B));
    rig.finish_background();
    CHECK_FALSE(rig.end_save().sanitize);
    CHECK(rig.run(cdb(0x00)).good());
    CHECK(rig.disk->data()[kDiskBytes - 1] == 0xAA);

    Rig failed(kDisk, true, {{}, 0, PersistentSanitize{true, true, {}}});
    CHECK(failed.run(read10(0, 1)).sense(3, 0x31, 0x03));
    Command& leave = failed.run(cdb(0x48).u8(1, 0x1F));
    CHECK_FALSE(failed.end_save().sanitize);
    CHECK(leave.good());
    CHECK(failed.run(read10(0, 1)).good());
}
