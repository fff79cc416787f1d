// Any bytes as a DHCP packet: parsed, decided upon, leased to, encoded, and parsed again. What was
// accepted must survive the way to the wire and back; a reply must always fit a frame. The pool
// never leases an address twice, whatever its neighbours answer to ARP.
#include <set>

#include "common/check.hpp"
#include "pxe/decide.hpp"
#include "pxe/leases.hpp"

using namespace goldlink;
using namespace goldlink::pxe;

namespace {

BootTable table() {
    TableSettings settings;
    settings.unknown_policy = UnknownPolicy::register_it;
    const Mac known = Mac::parse("52:54:00:00:00:01").value();
    return BootTable::make(1, settings, {{"c1", "PC-001", {known}, {}, BootFrom::local, ""}})
        .value();
}

LeasePool pool() {
    PoolOptions options;
    options.first = {0x0a000002};
    options.last = {0x0a000005};
    options.server = {0x0a000001};
    options.netmask = {0xffffff00};
    return LeasePool::make(options).value();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const BootTable boot_table = table();
    static LeasePool leases = pool();
    static std::int64_t now = 0;
    const Bytes bytes(data, size);
    static_cast<void>(parse_options(bytes));
    const auto packet = parse_packet(bytes);
    if (!packet) return 0;
    if (const auto again = encode_packet(*packet)) {
        const auto back = parse_packet(*again);
        CHECK(back && *back == *packet, "a packet survives encoding and parsing");
    }
    const Site site{{0x0a000001}, 8081, {"undionly.kpxe", "snponly.efi"}};
    for (const std::uint16_t port : {kServerPort, kBootServerPort}) {
        const Arrival arrival{port, {{0x0a000009}, 68}};
        for (const bool leased : {false, true}) {
            const AddressAnswer answer =
                leased ? leases.answer(*packet, now++, boot_table) : AddressAnswer{};
            const auto decision = decide(*packet, arrival, site, boot_table, answer);
            if (decision.reply.type == MessageType::none) continue;
            const auto reply = encode_packet(decision.reply);
            const auto* relay = packet->options.find(option::kRelayAgent);
            CHECK(reply || (relay != nullptr && relay->size() > 500),
                  "a reply of ours fits a frame");
            CHECK(!reply || parse_packet(*reply), "a reply of ours is a DHCP packet");
        }
    }
    if (const auto mac = packet->mac(); mac && packet->secs % 8 == 7)
        static_cast<void>(leases.in_use({0x0a000002 + packet->secs / 8U % 4U}, *mac, now));
    std::set<Mac> machines;
    for (const Lease& lease : leases.leases())
        CHECK(machines.insert(lease.mac).second, "no machine has two addresses");
    CHECK(machines.size() <= 4, "no more leases than addresses");
    return 0;
}
