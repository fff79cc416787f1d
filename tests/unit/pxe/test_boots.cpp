#include <catch2/catch.hpp>

#include "common/hex.hpp"
#include "pxe/boots.hpp"

using namespace goldlink;
using namespace goldlink::pxe;
using namespace std::chrono_literals;

namespace {

const Mac kOne = Mac::parse("52:54:00:00:00:01").value();
const Mac kTwo = Mac::parse("52:54:00:00:00:02").value();
const Boots::Time kStart = Boots::Time{} + 1h;

}  // namespace

TEST_CASE("one boot id leads from firmware to script") {
    Boots boots;
    const auto first = boots.dhcp(kOne, false, 1, kStart);
    CHECK(first.first);
    CHECK(is_uuid(first.boot_id));
    const auto again = boots.dhcp(kOne, false, 1, kStart + 4s);
    CHECK(again.boot_id == first.boot_id);
    CHECK_FALSE(again.first);
    boots.nbp_sent(kOne, kStart + 5s);
    const auto ipxe = boots.dhcp(kOne, true, 2, kStart + 7s);
    CHECK(ipxe.boot_id == first.boot_id);
    CHECK(ipxe.first);
    CHECK_FALSE(boots.dhcp(kOne, true, 2, kStart + 8s).first);
    CHECK(boots.script(kOne, false, kStart + 9s) == first.boot_id);
    CHECK(boots.current(kOne) == first.boot_id);
    CHECK(boots.dhcp(kTwo, false, 1, kStart).boot_id != first.boot_id);
}

TEST_CASE("firmware that starts anew after its NBP begins another boot") {
    Boots boots;
    const auto first = boots.dhcp(kOne, false, 1, kStart);
    CHECK(boots.dhcp(kOne, false, 9, kStart + 30s).boot_id == first.boot_id);  // only retried DHCP
    boots.nbp_sent(kOne, kStart + 31s);
    CHECK(boots.dhcp(kOne, false, 2, kStart + 60s).boot_id != first.boot_id);
}

TEST_CASE("a machine reset at its script begins another boot, by firmware or by an iPXE ROM") {
    Boots boots;
    const auto first = boots.dhcp(kOne, true, 1, kStart);
    CHECK(boots.script(kOne, false, kStart + 1s) == first.boot_id);
    const auto second = boots.dhcp(kOne, true, 2, kStart + 20s);
    CHECK(second.boot_id != first.boot_id);
    CHECK(boots.script(kOne, false, kStart + 21s) == second.boot_id);
    CHECK(boots.dhcp(kOne, false, 3, kStart + 40s).boot_id != second.boot_id);
}

TEST_CASE("a script asked for again by a script belongs to the same boot") {
    Boots boots;
    const auto id = boots.script(kOne, false, kStart);  // no DHCP seen: the boot begins here
    CHECK(is_uuid(id));
    CHECK(boots.script(kOne, true, kStart + 5h) == id);
    CHECK(boots.script(kOne, false, kStart + 6h) != id);
}

TEST_CASE("a boot that fell silent is not gone on with") {
    Boots boots;
    const auto first = boots.dhcp(kOne, false, 1, kStart);
    CHECK(boots.dhcp(kOne, false, 1, kStart + 3min).boot_id != first.boot_id);
    const auto third = boots.dhcp(kOne, false, 2, kStart + 4min);
    CHECK(boots.dhcp(kOne, true, 3, kStart + 15min).boot_id != third.boot_id);
}

TEST_CASE("a machine boots from its first DHCP packet to its script") {
    Boots boots;
    CHECK_FALSE(boots.is_booting(kOne, kStart));
    boots.dhcp(kOne, false, 1, kStart);
    CHECK(boots.is_booting(kOne, kStart + 30s));
    CHECK_FALSE(boots.is_booting(kTwo, kStart));
    CHECK_FALSE(boots.is_booting(kOne, kStart + 10min));
    boots.script(kOne, false, kStart + 40s);
    CHECK_FALSE(boots.is_booting(kOne, kStart + 41s));
}

TEST_CASE("addresses lead to the machine that has them now") {
    Boots boots;
    const Ipv4 address{0x0a000064};
    boots.learn_address(kOne, address);
    CHECK_FALSE(boots.mac_of(address));  // a machine that does not boot
    boots.dhcp(kOne, false, 1, kStart);
    boots.dhcp(kTwo, false, 1, kStart);
    boots.learn_address(kOne, address);
    CHECK(boots.mac_of(address) == kOne);
    boots.learn_address(kTwo, address);
    CHECK(boots.mac_of(address) == kTwo);
    boots.learn_address(kOne, {0x0a000065});
    CHECK(boots.mac_of(address) == kTwo);
    boots.learn_address(kOne, {});
    CHECK(boots.mac_of({0x0a000065}) == kOne);
}

TEST_CASE("a flood of addresses forgets the quietest machines, never more than the bound") {
    Boots boots(3);
    const auto mac = [](int n) { return Mac{{2, 0, 0, 0, 0, static_cast<std::uint8_t>(n)}}; };
    for (int n = 1; n <= 3; ++n) boots.dhcp(mac(n), false, 1, kStart);
    boots.learn_address(mac(2), {7});
    boots.dhcp(mac(1), false, 1, kStart + 1s);
    boots.dhcp(mac(4), false, 1, kStart + 2s);
    CHECK(boots.size() == 3);
    CHECK(boots.current(mac(2)).empty());
    CHECK_FALSE(boots.mac_of({7}));
    CHECK_FALSE(boots.current(mac(1)).empty());
}
