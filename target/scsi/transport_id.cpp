#include "target/scsi/transport_id.hpp"

#include <algorithm>

#include "common/iscsi_name.hpp"

namespace goldlink::scsi {

namespace {
constexpr std::uint8_t kIscsiPort = 0x45;  // format 01b, protocol 5h
constexpr std::size_t kHeader = 4;
constexpr std::size_t kMinNameBytes = 20;
constexpr std::size_t kMaxNameBytes = 244;
}  // namespace

std::vector<std::uint8_t> encode_transport_id(std::string_view initiator_port) {
    const std::string_view name = initiator_port.substr(0, kMaxNameBytes - 1);
    // Null terminated and padded to a multiple of four, at least 20 bytes.
    const std::size_t name_bytes = std::max(kMinNameBytes, (name.size() / 4 + 1) * 4);
    std::vector<std::uint8_t> id(kHeader + name_bytes);
    id[0] = kIscsiPort;
    store_be16(&id[2], static_cast<std::uint16_t>(name_bytes));
    std::ranges::copy(as_bytes(name), id.begin() + kHeader);
    return id;
}

std::size_t transport_id_length(Bytes bytes) {
    if (bytes.size() < kHeader) return bytes.size();
    return std::min(bytes.size(), kHeader + load_be16(&bytes[2]));
}

std::optional<std::string> decode_transport_id(Bytes bytes) {
    if (bytes.size() < kHeader + kMinNameBytes || bytes[0] != kIscsiPort) return std::nullopt;
    const std::size_t name_bytes = load_be16(&bytes[2]);
    if (name_bytes > kMaxNameBytes || name_bytes != bytes.size() - kHeader) return std::nullopt;
    const std::string_view padded = as_text(bytes.subspan(kHeader));
    const std::size_t end = padded.find('\0');
    if (end == std::string_view::npos || !is_initiator_port(padded.substr(0, end)))
        return std::nullopt;
    return std::string(padded.substr(0, end));
}

}  // namespace goldlink::scsi
