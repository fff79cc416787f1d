#include "pxe/tftp_packet.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace goldlink::pxe::tftp {

namespace {

enum Opcode : std::uint16_t { kRead = 1, kWrite = 2, kData = 3, kAck = 4, kError = 5, kOack = 6 };

Failure malformed(std::string_view why) {
    return failure(ErrorKind::invalid, fmt::format("malformed TFTP packet: {}", why));
}

// A string up to its NUL, which must be there.
Result<std::string> take_string(Bytes& rest) {
    const auto end = std::find(rest.begin(), rest.end(), std::uint8_t{0});
    if (end == rest.end()) return malformed("a string is not ended by NUL");
    std::string text(rest.begin(), end);
    rest = rest.subspan(text.size() + 1);
    return text;
}

std::string lower(std::string text) {
    for (char& c : text)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    return text;
}

Result<Message> parse_read(Bytes rest) {
    ReadRequest request;
    GOLDLINK_TRY_ASSIGN(request.file, take_string(rest));
    GOLDLINK_TRY_ASSIGN(std::string mode, take_string(rest));
    request.mode = lower(std::move(mode));
    // Some ROMs pad the packet with NULs after the last option.
    while (!rest.empty() && rest.front() != 0) {
        if (request.options.size() == kMaxOptions) return malformed("it has too many options");
        Option option;
        GOLDLINK_TRY_ASSIGN(std::string name, take_string(rest));
        GOLDLINK_TRY_ASSIGN(option.value, take_string(rest));
        option.name = lower(std::move(name));
        request.options.push_back(std::move(option));
    }
    return Message(std::move(request));
}

void put_string(std::vector<std::uint8_t>& out, std::string_view text) {
    out.insert(out.end(), text.begin(), text.end());
    out.push_back(0);
}

}  // namespace

Result<Message> parse(Bytes bytes) {
    ByteReader reader(bytes);
    const std::uint16_t opcode = reader.be16();
    if (!reader.ok()) return malformed("it is shorter than an opcode");
    switch (opcode) {
        case kRead:
            if (bytes.size() > kMaxRequestBytes) return malformed("the request is too long");
            return parse_read(reader.rest());
        case kWrite:
            return Message(WriteRequest{});
        case kData: {
            Data data;
            data.block = reader.be16();
            data.bytes = reader.rest();
            if (!reader.ok()) return malformed("DATA without a block number");
            return Message(data);
        }
        case kAck: {
            const Ack ack{reader.be16()};
            if (!reader.ok()) return malformed("ACK without a block number");
            return Message(ack);
        }
        case kError: {
            PeerError error;
            error.code = reader.be16();
            if (!reader.ok()) return malformed("ERROR without a code");
            for (const std::uint8_t c :
                 reader.rest().first(std::min<std::size_t>(reader.rest().size(), 128))) {
                if (c == 0) break;
                error.message.push_back(c >= 0x20 && c < 0x7f ? static_cast<char>(c) : '?');
            }
            return Message(std::move(error));
        }
        default:
            return malformed(fmt::format("opcode {}", opcode));
    }
}

std::string plain_name(std::string_view asked) {
    std::string name(asked);
    std::replace(name.begin(), name.end(), '\\', '/');
    std::string_view rest = name;
    for (;;) {
        if (rest.starts_with("/"))
            rest.remove_prefix(1);
        else if (rest.starts_with("./"))
            rest.remove_prefix(2);
        else
            return std::string(rest);
    }
}

std::vector<std::uint8_t> encode_error(ErrorCode code, std::string_view message) {
    std::vector<std::uint8_t> out(4);
    store_be16(out.data(), kError);
    store_be16(out.data() + 2, static_cast<std::uint16_t>(code));
    put_string(out, message.substr(0, 200));
    return out;
}

std::vector<std::uint8_t> encode_option_ack(const std::vector<Option>& options) {
    std::vector<std::uint8_t> out(2);
    store_be16(out.data(), kOack);
    for (const Option& option : options) {
        put_string(out, option.name);
        put_string(out, option.value);
    }
    return out;
}

void store_data_header(std::uint8_t* out, std::uint16_t block) {
    store_be16(out, kData);
    store_be16(out + 2, block);
}

}  // namespace goldlink::pxe::tftp
