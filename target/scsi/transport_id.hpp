// iSCSI TransportID (SPC-4 7.6.4.6): an initiator port "InitiatorName,i,0xISID" as PERSISTENT
// RESERVE carries it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/bytes.hpp"

namespace goldlink::scsi {

std::vector<std::uint8_t> encode_transport_id(std::string_view initiator_port);

// How long the TransportID at the start of `bytes` says it is, at most all of them.
std::size_t transport_id_length(Bytes bytes);

// The initiator port in `bytes`, which must be one whole TransportID of format 01b (name and ISID:
// a port, not all ports of a name).
std::optional<std::string> decode_transport_id(Bytes bytes);

}  // namespace goldlink::scsi
