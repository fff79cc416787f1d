// TFTP packets (RFC 1350) with their options (RFC 2347). Pure: bytes in, values out, and back.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/bytes.hpp"
#include "common/result.hpp"

namespace goldlink::pxe::tftp {

inline constexpr std::size_t kMaxRequestBytes = 512;  // RFC 2347 section "Packet Formats"
inline constexpr std::size_t kMaxOptions = 16;

enum class ErrorCode : std::uint16_t {
    undefined = 0,
    not_found = 1,
    access = 2,
    disk_full = 3,
    illegal = 4,
    unknown_transfer = 5,
    exists = 6,
    no_user = 7,
    options = 8,  // RFC 2347: the options were not acceptable
};

struct Option {
    std::string name;  // lower case
    std::string value;
    bool operator==(const Option&) const = default;
};

struct ReadRequest {
    std::string file;
    std::string mode;  // lower case
    std::vector<Option> options;
    bool operator==(const ReadRequest&) const = default;
};
struct WriteRequest {};
struct Data {
    std::uint16_t block = 0;
    Bytes bytes;  // into the packet parsed
};
struct Ack {
    std::uint16_t block = 0;
};
struct PeerError {
    std::uint16_t code = 0;
    std::string message;  // printable ASCII, at most 128 bytes
};
using Message = std::variant<ReadRequest, WriteRequest, Data, Ack, PeerError>;

// Errors: invalid.
Result<Message> parse(Bytes bytes);
// The name without the root that some clients and DHCP servers write before it: "/x", "./x" and
// "\\x" are "x", as other servers take them. What is left may still lead anywhere.
std::string plain_name(std::string_view asked);

std::vector<std::uint8_t> encode_error(ErrorCode code, std::string_view message);
std::vector<std::uint8_t> encode_option_ack(const std::vector<Option>& options);
// The four bytes in front of a block's data.
void store_data_header(std::uint8_t* out, std::uint16_t block);
inline constexpr std::size_t kDataHeaderBytes = 4;

}  // namespace goldlink::pxe::tftp
