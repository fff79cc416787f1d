#include <catch2/catch.hpp>

#include "pxe/decide.hpp"
#include "requests.hpp"

using namespace goldlink;
using namespace goldlink::pxe;
using Kind = Decision::Kind;

namespace {

const Ipv4 kServer{0x0a000001};
const Site kSite{kServer, 8081, {"undionly.kpxe", "snponly.efi"}};
const Arrival kFromNobody{kServerPort, {{}, kClientPort}};

BootTable table(UnknownPolicy policy, bool known, std::string base = "") {
    TableSettings settings;
    settings.unknown_policy = policy;
    settings.http_base = std::move(base);
    std::vector<TableClient> clients;
    if (known)
        clients.push_back({"c1", "PC-001", {test::client_mac()}, "l1", BootFrom::link, "iqn.x:pc"});
    return BootTable::make(1, settings, clients).value();
}

Decision ask(const Packet& request, const BootTable& held) {
    return decide(request, kFromNobody, kSite, held);
}

std::vector<std::uint8_t> data(const Packet& packet, std::uint8_t code) {
    const auto* found = packet.options.find(code);
    return found == nullptr ? std::vector<std::uint8_t>() : *found;
}

constexpr const char* kScript =
    "http://10.0.0.1:8081/boot?mac=52:54:00:00:00:01&arch=bios&uuid="
    "00112233-4455-6677-8899-aabbccddeeff";

}  // namespace

TEST_CASE("each firmware gets the boot program it can run") {
    struct Row {
        const char* what;
        Packet request;
        Kind kind;
        std::string file;
    };
    const Row rows[] = {
        {"BIOS", test::firmware(0), Kind::reply, "undionly.kpxe"},
        {"UEFI x86-64", test::firmware(7), Kind::reply, "snponly.efi"},
        {"UEFI EBC, which x86-64 firmware claims", test::firmware(9), Kind::reply, "snponly.efi"},
        {"UEFI ia32 without its file", test::firmware(6), Kind::refuse, ""},
        {"UEFI arm64 without its file", test::firmware(11), Kind::refuse, ""},
        {"an architecture nobody knows", test::firmware(4711), Kind::refuse, ""},
        {"UEFI HTTP boot", test::http_firmware(16), Kind::reply,
         "http://10.0.0.1:8081/files/snponly.efi"},
        {"HTTP boot of arm64", test::http_firmware(19), Kind::refuse, ""},
        {"HTTP boot that claims BIOS", test::http_firmware(0), Kind::refuse, ""},
        {"PXE that claims HTTP boot's architecture", test::firmware(16), Kind::refuse, ""},
        {"iPXE", test::ipxe(0), Kind::reply, kScript},
        {"an operating system", test::discover(), Kind::ignore, ""},
    };
    for (const bool known : {true, false}) {
        for (const Row& row : rows) {
            INFO(row.what << (known ? ", known" : ", unknown"));
            const auto decision = ask(row.request, table(UnknownPolicy::register_it, known));
            CHECK(decision.kind == row.kind);
            CHECK(decision.boot_file == row.file);
            CHECK(decision.reply.file == row.file);
            CHECK((decision.reply.type == MessageType::offer) == (row.kind == Kind::reply));
            CHECK(decision.why.empty() == (row.kind == Kind::reply));
        }
    }
}

TEST_CASE("option 93 is a list: the first type that we have a boot program for counts") {
    struct Row {
        const char* vendor_class;
        std::vector<std::uint8_t> codes;
        const char* file;
    };
    const char* const pxe = "PXEClient:Arch:00007:UNDI:003016";
    const char* const http = "HTTPClient:Arch:00016:UNDI:003016";
    const char* const url = "http://10.0.0.1:8081/files/snponly.efi";
    const Row rows[] = {
        {pxe, {0, 9, 0, 7}, "snponly.efi"},
        {pxe, {0, 7, 0, 0}, "snponly.efi"},
        {pxe, {0, 2, 0, 9}, "snponly.efi"},  // Itanium first
        {pxe, {0, 16, 0, 7}, "snponly.efi"},
        {pxe, {0, 7, 0}, "snponly.efi"},  // cut
        {http, {0, 7, 0, 16}, url},
        // Without a usable option 93 the class says it.
        {pxe, {7}, "snponly.efi"},
        {pxe, {}, "snponly.efi"},
        {http, {}, url},
        {"PXEClient:Arch:00000:UNDI:002001", {}, "undionly.kpxe"},
        {"PXEClient:Arch:99999:UNDI:002001", {}, "undionly.kpxe"},
        {"PXEClient:Arch:", {}, "undionly.kpxe"},
        {"PXEClient", {}, "undionly.kpxe"},  // a ROM without either is a BIOS
    };
    for (const Row& row : rows) {
        Packet request = test::discover();
        request.options.add_text(option::kVendorClass, row.vendor_class);
        if (!row.codes.empty()) request.options.append(option::kClientArchitecture, row.codes);
        INFO(row.vendor_class << ", " << row.codes.size() << " bytes of option 93");
        CHECK(ask(request, table(UnknownPolicy::register_it, true)).boot_file == row.file);
    }
}

TEST_CASE("an admin's file for another architecture is served") {
    Site site = kSite;
    site.boot_files.insert("snponly-arm64.efi");
    const auto held = table(UnknownPolicy::register_it, true);
    CHECK(decide(test::firmware(11), kFromNobody, site, held).boot_file == "snponly-arm64.efi");
}

TEST_CASE("the ProxyDHCP offer has what BIOS, UEFI and iPXE insist on") {
    for (const Packet& request : {test::firmware(0), test::firmware(7), test::ipxe(7)}) {
        const auto decision = ask(request, table(UnknownPolicy::register_it, true));
        const Packet& reply = decision.reply;
        CHECK(decision.destination == Endpoint{kBroadcast, 68});
        CHECK(reply.op == 2);
        CHECK(reply.xid == request.xid);
        CHECK(reply.flags == request.flags);
        CHECK(reply.chaddr == request.chaddr);
        CHECK(reply.yiaddr.empty());
        CHECK(reply.siaddr == kServer);
        CHECK(reply.options.address(option::kServerIdentifier) == kServer);
        CHECK(reply.options.text(option::kVendorClass) == "PXEClient");
        CHECK(data(reply, option::kVendorSpecific) == std::vector<std::uint8_t>{6, 1, 8, 255});
        CHECK(data(reply, option::kClientMachineId) == data(request, option::kClientMachineId));
        CHECK_FALSE(reply.options.has(option::kLeaseTime));
        CHECK(encode_packet(reply));
    }
}

TEST_CASE("HTTP boot is told so, and gets no PXE options") {
    const auto decision = ask(test::http_firmware(16), table(UnknownPolicy::register_it, true));
    CHECK(decision.reply.options.text(option::kVendorClass) == "HTTPClient");
    CHECK_FALSE(decision.reply.options.has(option::kVendorSpecific));
}

TEST_CASE("a machine ID of another length is not echoed") {
    Packet request = test::discover();
    request.options.add_text(option::kVendorClass, "PXEClient");
    request.options.add_text(option::kClientMachineId, "short");
    const auto decision = ask(request, table(UnknownPolicy::register_it, true));
    CHECK_FALSE(decision.reply.options.has(option::kClientMachineId));
    CHECK(decision.client.uuid.empty());
}

TEST_CASE("strangers are left alone under policy local, known machines are not") {
    CHECK(ask(test::firmware(0), table(UnknownPolicy::local, false)).kind == Kind::ignore);
    CHECK(ask(test::ipxe(0), table(UnknownPolicy::local, false)).kind == Kind::ignore);
    CHECK(ask(test::firmware(0), table(UnknownPolicy::local, true)).kind == Kind::reply);
    CHECK(ask(test::firmware(0), table(UnknownPolicy::ask, false)).kind == Kind::reply);
}

TEST_CASE("iPXE is told by its user class in either form, or by option 175") {
    Packet counted = test::firmware(0);
    counted.options.add_text(option::kUserClass, "\x04iPXE");
    Packet second = test::firmware(0);
    second.options.add_text(option::kUserClass,
                            "\x03"
                            "abc\x04iPXE");
    Packet features = test::firmware(0);
    features.options.append(option::kIpxeEncapsulated, std::vector<std::uint8_t>{0x10, 1, 1});
    for (const Packet& request : {counted, second, features})
        CHECK(identify(request).kind == ClientKind::ipxe);

    Packet other = test::firmware(0);
    other.options.add_text(option::kUserClass, "\x7fiPXE");
    CHECK(identify(other).kind == ClientKind::firmware);
    Packet broken = test::firmware(0);
    broken.options.append(option::kIpxeEncapsulated, std::vector<std::uint8_t>{0x10, 200, 1});
    CHECK(identify(broken).kind == ClientKind::firmware);
}

TEST_CASE("the script's URL uses the configured base and always fits the file field") {
    const std::string base = "http://" + std::string(57, 'b');
    const auto decision = ask(test::ipxe(11), table(UnknownPolicy::register_it, true, base));
    CHECK(decision.boot_file.starts_with(base + "/boot?mac=52:54:00:00:00:01&arch=uefi-arm64"));
    CHECK(decision.boot_file.size() <= kMaxFileName);
    CHECK(decision.boot_file.find("uuid") == std::string::npos);  // it had no room
    CHECK(encode_packet(decision.reply));
}

TEST_CASE("as ProxyDHCP we keep out of what is the DHCP server's business") {
    const auto held = table(UnknownPolicy::register_it, true);
    for (const auto type : {MessageType::request, MessageType::decline, MessageType::release,
                            MessageType::none, MessageType::offer, MessageType::ack}) {
        Packet request = test::firmware(0);
        request.type = type;
        CHECK(ask(request, held).kind == Kind::ignore);
    }
    Packet reply = test::firmware(0);
    reply.op = 2;
    CHECK(ask(reply, held).kind == Kind::ignore);
}

TEST_CASE("port 4011 answers to where the request came from") {
    const auto held = table(UnknownPolicy::register_it, true);
    Packet request = test::firmware(7);
    request.type = MessageType::request;
    request.ciaddr = {0x0a000064};
    const Arrival uefi{kBootServerPort, {{0x0a000064}, 4011}};
    auto decision = decide(request, uefi, kSite, held);
    CHECK(decision.kind == Kind::reply);
    CHECK(decision.reply.type == MessageType::ack);
    CHECK(decision.reply.file == "snponly.efi");
    CHECK(decision.reply.ciaddr == request.ciaddr);
    CHECK(decision.destination == Endpoint{{0x0a000064}, 4011});

    decision = decide(request, {kBootServerPort, {{}, 68}}, kSite, held);
    CHECK(decision.destination == Endpoint{kBroadcast, 68});

    CHECK(decide(test::firmware(7), uefi, kSite, held).kind == Kind::ignore);  // DISCOVER
}

TEST_CASE("INFORM is answered to the address the machine has") {
    Packet request = test::firmware(0);
    request.type = MessageType::inform;
    request.ciaddr = {0x0a000064};
    const auto decision = ask(request, table(UnknownPolicy::register_it, true));
    CHECK(decision.reply.type == MessageType::ack);
    CHECK(decision.destination == Endpoint{{0x0a000064}, 68});
}

TEST_CASE("a relayed request goes back through its relay, option 82 last") {
    Packet request = test::firmware(0);
    request.giaddr = {0x0a010001};
    request.options.add_text(option::kRelayAgent, "port 7");
    const auto decision = ask(request, table(UnknownPolicy::register_it, true));
    CHECK(decision.destination == Endpoint{{0x0a010001}, 67});
    CHECK(decision.reply.giaddr == request.giaddr);
    CHECK(decision.reply.options.entries().back().code == option::kRelayAgent);
    CHECK(decision.reply.options.text(option::kRelayAgent) == "port 7");
}

// Relays go by the flag: with it clear they unicast to yiaddr, which a ProxyDHCP leaves empty.
TEST_CASE("a reply without an address carries the broadcast flag, whatever was asked") {
    const auto held = table(UnknownPolicy::register_it, true);
    for (const std::uint32_t relay : {0U, 0x0a010001U})
        for (const auto type : {MessageType::discover, MessageType::inform}) {
            Packet request = test::ipxe(0);
            request.type = type;
            request.flags = 0;
            request.giaddr = {relay};
            const auto decision = ask(request, held);
            REQUIRE(decision.kind == Kind::reply);
            CHECK(decision.reply.flags == kBroadcastFlag);
        }
    Packet request = test::firmware(7);
    request.type = MessageType::request;
    request.flags = 0;
    request.giaddr = {0x0a010001};
    AddressAnswer answer;
    answer.kind = AddressAnswer::Kind::nak;
    const auto nak = decide(request, kFromNobody, kSite, held, answer);
    CHECK(nak.reply.flags == kBroadcastFlag);
    CHECK(nak.destination == Endpoint{request.giaddr, 67});
    // With an address the relay unicasts, as the client asked.
    answer.kind = AddressAnswer::Kind::ack;
    answer.address = {0x0a000064};
    CHECK(decide(request, kFromNobody, kSite, held, answer).reply.flags == 0);
}

TEST_CASE("a relay's address that no host has is not sent to") {
    for (const std::uint32_t relay : {0xffffffffU, 0x7f000001U, 0xe0000001U, 0x00000001U}) {
        Packet request = test::firmware(0);
        request.giaddr = {relay};
        CHECK(ask(request, table(UnknownPolicy::register_it, true)).kind == Kind::ignore);
    }
}

TEST_CASE("where the pool is silent or has no address, no boot file is offered without one") {
    const auto held = table(UnknownPolicy::register_it, true);
    AddressAnswer answer;
    answer.kind = AddressAnswer::Kind::silent;
    answer.why = "it belongs to another server";
    auto decision = decide(test::firmware(0), kFromNobody, kSite, held, answer);
    CHECK(decision.kind == Kind::ignore);
    CHECK(decision.reply.type == MessageType::none);
    answer.kind = AddressAnswer::Kind::unavailable;
    answer.why = "no address is free";
    answer.to_do = "widen the range";
    decision = decide(test::firmware(0), kFromNobody, kSite, held, answer);
    CHECK(decision.kind == Kind::refuse);
    CHECK(decision.reply.type == MessageType::none);
    CHECK(decision.boot_file.empty());
    CHECK(decision.why == "no address is free; widen the range");
}

TEST_CASE("with a lease the same reply carries address and boot file") {
    const AddressAnswer lease{AddressAnswer::Kind::offer,
                              {0x0a000064},
                              {0xffffff00},
                              {0x0a0000fe},
                              {{0x08080808}, {0x08080404}},
                              3600,
                              ""};
    const auto held = table(UnknownPolicy::register_it, true);
    const auto decision = decide(test::firmware(0), kFromNobody, kSite, held, lease);
    CHECK(decision.kind == Kind::reply);
    CHECK(decision.reply.yiaddr == lease.address);
    CHECK(decision.reply.file == "undionly.kpxe");
    CHECK(decision.reply.options.address(option::kSubnetMask) == lease.netmask);
    CHECK(decision.reply.options.address(option::kRouter) == lease.router);
    CHECK(data(decision.reply, option::kLeaseTime) == std::vector<std::uint8_t>{0, 0, 14, 16});
    CHECK(data(decision.reply, option::kDnsServer).size() == 8);

    const auto plain = decide(test::discover(), kFromNobody, kSite, held, lease);
    CHECK(plain.kind == Kind::reply);
    CHECK(plain.reply.yiaddr == lease.address);
    CHECK(plain.reply.file.empty());
    CHECK(plain.reply.siaddr.empty());

    const auto refused = decide(test::firmware(11), kFromNobody, kSite, held, lease);
    CHECK(refused.kind == Kind::refuse);
    CHECK(refused.reply.yiaddr == lease.address);
}

TEST_CASE("a NAK is broadcast and says why") {
    AddressAnswer nak;
    nak.kind = AddressAnswer::Kind::nak;
    nak.why = "not yours";
    Packet request = test::firmware(0);
    request.type = MessageType::request;
    request.ciaddr = {0x0a000064};
    const auto decision =
        decide(request, kFromNobody, kSite, table(UnknownPolicy::register_it, true), nak);
    CHECK(decision.reply.type == MessageType::nak);
    CHECK(decision.destination == Endpoint{kBroadcast, 68});
    CHECK(decision.reply.options.text(option::kMessage) == "not yours");
    CHECK(decision.reply.file.empty());
}
