// The DHCP packet (RFC 2131, 2132): the BOOTP header, the options, and back. Pure: bytes in, a
// value out. What a peer sends is bounded by its datagram; nothing is kept that points into it.
//
// Options split over several instances, or over the file and sname fields by option 52, are joined
// as RFC 3396 says, so that a reader sees each code once. One of fixed length is never split: sent
// again with the same data it is the same option.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/bytes.hpp"
#include "common/mac.hpp"
#include "common/result.hpp"
#include "pxe/ipv4.hpp"

namespace goldlink::pxe {

enum class MessageType : std::uint8_t {
    none = 0,  // plain BOOTP
    discover = 1,
    offer = 2,
    request = 3,
    decline = 4,
    ack = 5,
    nak = 6,
    release = 7,
    inform = 8,
};

namespace option {
inline constexpr std::uint8_t kPad = 0;
inline constexpr std::uint8_t kSubnetMask = 1;
inline constexpr std::uint8_t kRouter = 3;
inline constexpr std::uint8_t kDnsServer = 6;
inline constexpr std::uint8_t kVendorSpecific = 43;
inline constexpr std::uint8_t kRequestedAddress = 50;
inline constexpr std::uint8_t kLeaseTime = 51;
inline constexpr std::uint8_t kOverload = 52;
inline constexpr std::uint8_t kMessageType = 53;
inline constexpr std::uint8_t kServerIdentifier = 54;
inline constexpr std::uint8_t kMessage = 56;
inline constexpr std::uint8_t kRenewalTime = 58;
inline constexpr std::uint8_t kRebindingTime = 59;
inline constexpr std::uint8_t kVendorClass = 60;
inline constexpr std::uint8_t kBootFile = 67;
inline constexpr std::uint8_t kUserClass = 77;
inline constexpr std::uint8_t kRelayAgent = 82;
inline constexpr std::uint8_t kClientArchitecture = 93;
inline constexpr std::uint8_t kClientMachineId = 97;
inline constexpr std::uint8_t kSubnetSelection = 118;
inline constexpr std::uint8_t kIpxeEncapsulated = 175;
inline constexpr std::uint8_t kEnd = 255;
}  // namespace option

// Options in the order they came or are to be sent.
class OptionList {
  public:
    struct Entry {
        std::uint8_t code = 0;
        std::vector<std::uint8_t> data;
        bool operator==(const Entry&) const = default;
    };

    // The data of `code`, or nullptr. Empty data is not the same as absent.
    const std::vector<std::uint8_t>* find(std::uint8_t code) const;
    bool has(std::uint8_t code) const { return find(code) != nullptr; }
    std::string_view text(std::uint8_t code) const;  // "" when absent
    Ipv4 address(std::uint8_t code) const;           // empty when absent or of another length

    // Appends to the entry of `code`, or makes it (RFC 3396).
    void append(std::uint8_t code, Bytes data);
    void add_u8(std::uint8_t code, std::uint8_t value);
    void add_u32(std::uint8_t code, std::uint32_t value);
    void add_text(std::uint8_t code, std::string_view text) { append(code, as_bytes(text)); }

    const std::vector<Entry>& entries() const { return entries_; }
    bool operator==(const OptionList&) const = default;

  private:
    std::vector<Entry> entries_;
};

struct Packet {
    std::uint8_t op = 0;  // 1 request, 2 reply
    std::uint8_t htype = 1;
    std::uint8_t hlen = 6;
    std::uint8_t hops = 0;
    std::uint32_t xid = 0;
    std::uint16_t secs = 0;
    std::uint16_t flags = 0;
    Ipv4 ciaddr, yiaddr, siaddr, giaddr;
    std::array<std::uint8_t, 16> chaddr{};
    std::string sname;  // at most 63 bytes
    std::string file;   // at most 127 bytes
    MessageType type = MessageType::none;
    OptionList options;  // without 53, 52 and 255

    // The client's Ethernet address; invalid for other hardware, multicast and zero addresses.
    // Hardware type 6 (IEEE 802, RFC 1700) has the same addresses, and some cards say it.
    Result<Mac> mac() const;
    bool operator==(const Packet&) const = default;
};

inline constexpr std::uint16_t kBroadcastFlag = 0x8000;
inline constexpr std::size_t kMaxFileName = 127;      // the file field holds a NUL too
inline constexpr std::size_t kMaxPacketBytes = 1472;  // one Ethernet frame

// Errors: invalid, with what is wrong: too short, no DHCP cookie, two different message types.
Result<Packet> parse_packet(Bytes bytes);
// An option area alone: that of a packet after the cookie, or options encapsulated in 43 or 175.
// A missing end mark is accepted. An option that runs past the end is left out, with what follows:
// the options before it count, as with other servers.
Result<OptionList> parse_options(Bytes bytes);

// At least 300 bytes, which old relays and ROMs insist on. Errors: invalid when the fields do not
// fit kMaxFileName or kMaxPacketBytes.
Result<std::vector<std::uint8_t>> encode_packet(const Packet& packet);

}  // namespace goldlink::pxe
