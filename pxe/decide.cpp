#include "pxe/decide.hpp"

#include <fmt/format.h>

namespace goldlink::pxe {

namespace {

// PXE 2.1 section 2.2.3, tag 6 of option 43, bit 3: take the boot file of this very offer and look
// for no boot server. Without it UEFI insists on port 4011.
constexpr std::uint8_t kNoDiscovery[] = {6, 1, 8, 255};

struct BootOffer {
    std::string file;  // "": nothing to boot
    std::string_view vendor_class;
    std::string why;       // when there is nothing
    bool refused = false;  // the machine wants to boot, and what it needs is missing here
};

std::string script_url(const std::string& base, const Mac& mac, const Client& client) {
    std::string url =
        fmt::format("{}/boot?mac={}&arch={}", base, mac.to_string(), client.architecture_name());
    const std::string with_uuid = fmt::format("{}&uuid={}", url, client.uuid);
    return client.uuid.empty() || with_uuid.size() > kMaxFileName ? url : with_uuid;
}

BootOffer boot_offer(const Client& client, const Mac& mac, const Site& site,
                     const BootTable& table) {
    if (client.kind == ClientKind::other) return {"", "", "it does not ask to boot", false};
    if (table.find(mac) == nullptr && table.settings().unknown_policy == UnknownPolicy::local)
        return {"", "", "it is not in the boot table, and strangers are left alone", false};
    const std::string base = http_base(table.settings(), site.address, site.http_port);
    if (client.kind == ClientKind::ipxe)
        return {script_url(base, mac, client), "PXEClient", "", false};

    const bool by_http = client.kind == ClientKind::http_boot;
    const Architecture* architecture = client.architecture;
    if (architecture == nullptr || architecture->http != by_http)
        return {
            "", "",
            fmt::format("no boot program is known for {} firmware of architecture {} (option 93)",
                        by_http ? "HTTP boot" : "PXE", client.architecture_code),
            true};
    if (!site.boot_files.contains(architecture->boot_file))
        return {
            "", "",
            fmt::format("{} firmware needs {}, which the boot files folder does not have; put it "
                        "there",
                        architecture->name, architecture->boot_file),
            true};
    if (by_http)
        return {fmt::format("{}/files/{}", base, architecture->boot_file), "HTTPClient", "", false};
    return {std::string(architecture->boot_file), "PXEClient", "", false};
}

Packet reply_to(const Packet& request, MessageType type, Ipv4 server) {
    Packet reply;
    reply.op = 2;
    reply.htype = request.htype;
    reply.hlen = request.hlen;
    reply.xid = request.xid;
    reply.flags = request.flags;
    reply.giaddr = request.giaddr;
    reply.chaddr = request.chaddr;
    reply.type = type;
    reply.options.add_u32(option::kServerIdentifier, server.value);
    return reply;
}

void add_address(Packet& reply, const AddressAnswer& answer) {
    reply.yiaddr = answer.address;
    if (!answer.address.empty()) {
        reply.options.add_u32(option::kLeaseTime, answer.lease_seconds);
        reply.options.add_u32(option::kRenewalTime, answer.lease_seconds / 2);
        reply.options.add_u32(option::kRebindingTime, answer.lease_seconds / 8 * 7);
    }
    reply.options.add_u32(option::kSubnetMask, answer.netmask.value);
    if (!answer.router.empty()) reply.options.add_u32(option::kRouter, answer.router.value);
    for (const Ipv4 server : answer.dns_servers)
        reply.options.add_u32(option::kDnsServer, server.value);
}

void add_boot(Packet& reply, const Packet& request, const BootOffer& offer, Ipv4 server) {
    reply.siaddr = server;
    reply.file = offer.file;
    reply.options.add_text(option::kVendorClass, offer.vendor_class);
    if (const auto* machine = request.options.find(option::kClientMachineId);
        machine != nullptr && machine->size() == 17)
        reply.options.append(option::kClientMachineId, *machine);
    if (offer.vendor_class == "PXEClient")
        reply.options.append(option::kVendorSpecific, kNoDiscovery);
}

// RFC 2131 section 4.1; a machine that boots has no address yet and answers no ARP. Through a relay
// the reply may be a ProxyDHCP's, which gives no address, or a NAK: the relay then knows nothing to
// unicast it to and has to broadcast it, whatever the client asked for (RFC 1542 section 4.1.2,
// RFC 2131 section 4.3.2).
Endpoint destination_of(const Packet& request, const Packet& reply, const Arrival& arrival) {
    if (arrival.port == kBootServerPort)  // UEFI sends from 4011 and listens there
        return arrival.source.address.empty() ? Endpoint{kBroadcast, kClientPort} : arrival.source;
    if (!request.giaddr.empty()) return {request.giaddr, kServerPort};
    if (reply.type == MessageType::ack && !request.ciaddr.empty())
        return {request.ciaddr, kClientPort};
    return {kBroadcast, kClientPort};
}

// The type of our reply as ProxyDHCP, or none where the packet is the other server's business.
MessageType proxy_reply_type(const Packet& request, std::uint16_t port) {
    if (port == kBootServerPort)
        return request.type == MessageType::request || request.type == MessageType::inform
                   ? MessageType::ack
                   : MessageType::none;
    if (request.type == MessageType::discover) return MessageType::offer;
    if (request.type == MessageType::inform) return MessageType::ack;
    return MessageType::none;
}

MessageType lease_reply_type(AddressAnswer::Kind kind) {
    switch (kind) {
        case AddressAnswer::Kind::none:
        case AddressAnswer::Kind::silent:
        case AddressAnswer::Kind::unavailable:
            return MessageType::none;
        case AddressAnswer::Kind::offer:
            return MessageType::offer;
        case AddressAnswer::Kind::ack:
            return MessageType::ack;
        case AddressAnswer::Kind::nak:
            return MessageType::nak;
    }
    return MessageType::none;
}

}  // namespace

std::string http_base(const TableSettings& settings, Ipv4 address, std::uint16_t http_port) {
    return settings.http_base.empty() ? fmt::format("http://{}:{}", address.to_string(), http_port)
                                      : settings.http_base;
}

Decision decide(const Packet& request, const Arrival& arrival, const Site& site,
                const BootTable& table, const AddressAnswer& address) {
    Decision decision;
    const auto ignore = [&](std::string why) {
        decision.kind = Decision::Kind::ignore;
        decision.why = std::move(why);
        return decision;
    };
    if (request.op != 1) return ignore("it is a reply");
    const auto mac = request.mac();
    if (!mac) return ignore(mac.error().message);
    if (!request.giaddr.empty() && !is_host_address(request.giaddr))
        return ignore("its relay's address is none that a host has");
    decision.client = identify(request);

    if (address.kind == AddressAnswer::Kind::silent) return ignore(address.why);
    if (address.kind == AddressAnswer::Kind::unavailable) {
        decision.kind = Decision::Kind::refuse;
        decision.why = fmt::format("{}; {}", address.why, address.to_do);
        return decision;
    }
    const bool leases = address.kind != AddressAnswer::Kind::none;
    const MessageType type =
        leases ? lease_reply_type(address.kind) : proxy_reply_type(request, arrival.port);
    if (type == MessageType::none) return ignore("it is meant for the DHCP server");

    BootOffer offer;
    if (type != MessageType::nak) offer = boot_offer(decision.client, *mac, site, table);
    decision.why = offer.why;
    decision.boot_file = offer.file;
    decision.kind = offer.refused ? Decision::Kind::refuse : Decision::Kind::reply;
    if (offer.file.empty() && !leases) {
        if (!offer.refused) decision.kind = Decision::Kind::ignore;
        return decision;
    }

    Packet reply = reply_to(request, type, site.address);
    if (type == MessageType::nak)
        reply.options.add_text(option::kMessage, address.why);
    else if (leases)
        add_address(reply, address);
    if (type == MessageType::ack && address.address.empty()) reply.ciaddr = request.ciaddr;
    if (!offer.file.empty()) add_boot(reply, request, offer, site.address);
    if (reply.yiaddr.empty()) reply.flags |= kBroadcastFlag;
    if (const auto* selected = request.options.find(option::kSubnetSelection);
        leases && selected != nullptr && selected->size() == 4)
        reply.options.append(option::kSubnetSelection, *selected);  // RFC 3011 section 2.2
    // RFC 3046 section 2.2: the relay's option goes back as the last one.
    if (const auto* relay = request.options.find(option::kRelayAgent))
        reply.options.append(option::kRelayAgent, *relay);
    decision.destination = destination_of(request, reply, arrival);
    decision.reply = std::move(reply);
    return decision;
}

}  // namespace goldlink::pxe
