#include "pxe/packet.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace goldlink::pxe {

namespace {

constexpr std::uint32_t kCookie = 0x63825363;  // RFC 2131 section 3
constexpr std::size_t kSnameBytes = 64;
constexpr std::size_t kFileBytes = 128;
constexpr std::size_t kMinPacketBytes = 300;
constexpr std::uint8_t kOverloadFile = 1;
constexpr std::uint8_t kOverloadSname = 2;

Failure malformed(std::string_view why) {
    return failure(ErrorKind::invalid, fmt::format("malformed DHCP packet: {}", why));
}

// Of the options that we read: those whose length is fixed, so that nobody splits them.
constexpr std::uint8_t kUnsplit[] = {option::kRequestedAddress, option::kOverload,
                                     option::kMessageType, option::kServerIdentifier,
                                     option::kClientMachineId};

// `unsplit`: codes that count once. Encapsulated options have numbers of their own, and none.
Result<> read_options(Bytes bytes, Bytes unsplit, OptionList& into) {
    ByteReader reader(bytes);
    while (!reader.empty()) {
        const std::uint8_t code = reader.u8();
        if (code == option::kPad) continue;
        if (code == option::kEnd) return {};
        const std::uint8_t length = reader.u8();
        const Bytes data = reader.bytes(length);
        if (!reader.ok()) return {};
        const bool once = std::find(unsplit.begin(), unsplit.end(), code) != unsplit.end();
        const auto* before = once ? into.find(code) : nullptr;
        if (before == nullptr)
            into.append(code, data);
        else if (!std::equal(before->begin(), before->end(), data.begin(), data.end()))
            return malformed(fmt::format("option {} is there twice, and differs", code));
    }
    return {};
}

// The bytes before the first NUL: the fields are C strings in a fixed space.
std::string field_text(Bytes field) {
    const auto end = std::find(field.begin(), field.end(), std::uint8_t{0});
    return {field.begin(), end};
}

void put_u32(std::vector<std::uint8_t>& out, std::uint32_t value) {
    std::uint8_t raw[4];
    store_be32(raw, value);
    out.insert(out.end(), raw, raw + sizeof raw);
}

void put_u16(std::vector<std::uint8_t>& out, std::uint16_t value) {
    out.push_back(static_cast<std::uint8_t>(value >> 8));
    out.push_back(static_cast<std::uint8_t>(value));
}

void put_field(std::vector<std::uint8_t>& out, std::string_view text, std::size_t width) {
    out.insert(out.end(), text.begin(), text.end());
    out.insert(out.end(), width - text.size(), 0);
}

void put_option(std::vector<std::uint8_t>& out, std::uint8_t code, Bytes data) {
    do {
        const Bytes part = data.first(std::min<std::size_t>(data.size(), 255));
        out.push_back(code);
        out.push_back(static_cast<std::uint8_t>(part.size()));
        out.insert(out.end(), part.begin(), part.end());
        data = data.subspan(part.size());
    } while (!data.empty());
}

}  // namespace

const std::vector<std::uint8_t>* OptionList::find(std::uint8_t code) const {
    for (const Entry& entry : entries_)
        if (entry.code == code) return &entry.data;
    return nullptr;
}

std::string_view OptionList::text(std::uint8_t code) const {
    const auto* data = find(code);
    return data == nullptr ? std::string_view() : as_text(*data);
}

Ipv4 OptionList::address(std::uint8_t code) const {
    const auto* data = find(code);
    return data == nullptr || data->size() != 4 ? Ipv4{} : Ipv4{load_be32(data->data())};
}

void OptionList::append(std::uint8_t code, Bytes data) {
    for (Entry& entry : entries_) {
        if (entry.code != code) continue;
        entry.data.insert(entry.data.end(), data.begin(), data.end());
        return;
    }
    entries_.push_back({code, {data.begin(), data.end()}});
}

void OptionList::add_u8(std::uint8_t code, std::uint8_t value) { append(code, {&value, 1}); }

void OptionList::add_u32(std::uint8_t code, std::uint32_t value) {
    std::uint8_t raw[4];
    store_be32(raw, value);
    append(code, raw);
}

Result<Mac> Packet::mac() const {
    if ((htype != 1 && htype != 6) || hlen != 6)
        return malformed("the client's hardware is not Ethernet");
    Mac mac;
    std::copy_n(chaddr.begin(), mac.bytes.size(), mac.bytes.begin());
    if ((mac.bytes[0] & 1) != 0 || mac == Mac{})
        return malformed("the client's address is multicast or empty");
    return mac;
}

Result<OptionList> parse_options(Bytes bytes) {
    OptionList options;
    GOLDLINK_TRY(read_options(bytes, {}, options));
    return options;
}

Result<Packet> parse_packet(Bytes bytes) {
    ByteReader reader(bytes);
    Packet packet;
    packet.op = reader.u8();
    packet.htype = reader.u8();
    packet.hlen = reader.u8();
    packet.hops = reader.u8();
    packet.xid = reader.be32();
    packet.secs = reader.be16();
    packet.flags = reader.be16();
    packet.ciaddr.value = reader.be32();
    packet.yiaddr.value = reader.be32();
    packet.siaddr.value = reader.be32();
    packet.giaddr.value = reader.be32();
    const Bytes chaddr = reader.bytes(packet.chaddr.size());
    std::copy(chaddr.begin(), chaddr.end(), packet.chaddr.begin());
    const Bytes sname = reader.bytes(kSnameBytes);
    const Bytes file = reader.bytes(kFileBytes);
    const std::uint32_t cookie = reader.be32();
    if (!reader.ok()) return malformed(fmt::format("{} bytes are too few", bytes.size()));
    if (packet.op != 1 && packet.op != 2) return malformed(fmt::format("op is {}", packet.op));
    if (packet.hlen > packet.chaddr.size())
        return malformed(fmt::format("hlen is {}", packet.hlen));
    if (cookie != kCookie) return malformed("the DHCP cookie is missing");

    OptionList all;
    GOLDLINK_TRY(read_options(reader.rest(), kUnsplit, all));
    std::uint8_t overload = 0;
    if (const auto* data = all.find(option::kOverload)) {
        if (data->size() != 1 || (*data)[0] == 0 || (*data)[0] > (kOverloadFile | kOverloadSname))
            return malformed("option 52 is not 1, 2 or 3");
        overload = (*data)[0];
    }
    // RFC 2131 section 4.1: first the options field, then file, then sname.
    if ((overload & kOverloadFile) != 0)
        GOLDLINK_TRY(read_options(file, kUnsplit, all));
    else
        packet.file = field_text(file);
    if ((overload & kOverloadSname) != 0)
        GOLDLINK_TRY(read_options(sname, kUnsplit, all));
    else
        packet.sname = field_text(sname);

    for (const OptionList::Entry& entry : all.entries()) {
        if (entry.code == option::kOverload) continue;
        if (entry.code != option::kMessageType) {
            packet.options.append(entry.code, entry.data);
            continue;
        }
        if (entry.data.size() != 1 || entry.data[0] < 1 || entry.data[0] > 8)
            return malformed("option 53 is not a message type");
        packet.type = static_cast<MessageType>(entry.data[0]);
    }
    return packet;
}

Result<std::vector<std::uint8_t>> encode_packet(const Packet& packet) {
    if (packet.file.size() > kMaxFileName)
        return failure(ErrorKind::invalid,
                       fmt::format("the boot file name {} is longer than the {} bytes DHCP carries",
                                   packet.file, kMaxFileName));
    if (packet.sname.size() >= kSnameBytes)
        return failure(ErrorKind::invalid, "the server name is longer than DHCP carries");
    std::vector<std::uint8_t> out;
    out.reserve(512);
    out.insert(out.end(), {packet.op, packet.htype, packet.hlen, packet.hops});
    put_u32(out, packet.xid);
    put_u16(out, packet.secs);
    put_u16(out, packet.flags);
    for (const Ipv4 address : {packet.ciaddr, packet.yiaddr, packet.siaddr, packet.giaddr})
        put_u32(out, address.value);
    out.insert(out.end(), packet.chaddr.begin(), packet.chaddr.end());
    put_field(out, packet.sname, kSnameBytes);
    put_field(out, packet.file, kFileBytes);
    put_u32(out, kCookie);
    if (packet.type != MessageType::none) {
        const auto type = static_cast<std::uint8_t>(packet.type);
        put_option(out, option::kMessageType, {&type, 1});
    }
    for (const OptionList::Entry& entry : packet.options.entries())
        put_option(out, entry.code, entry.data);
    out.push_back(option::kEnd);
    if (out.size() > kMaxPacketBytes)
        return failure(ErrorKind::invalid,
                       fmt::format("a DHCP reply of {} bytes does not fit a frame", out.size()));
    if (out.size() < kMinPacketBytes) out.resize(kMinPacketBytes, 0);
    return out;
}

}  // namespace goldlink::pxe
