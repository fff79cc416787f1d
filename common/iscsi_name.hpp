// iSCSI names (RFC 7143 4.2.7, RFC 3722) as peers give them. Pure; threads: any.
//
// As strict as what a name becomes part of needs (events, logs, files, SCSI TransportIDs), and as
// tolerant as initiators are careless: upper case, no date after iqn., and of what RFC 3722 does
// not allow '_' and '+', which names of computers and of virtual machines have.
#pragma once

#include <cstddef>
#include <string_view>

namespace goldlink {

inline constexpr std::size_t kMaxIscsiNameBytes = 223;

// What is wrong with the name, in words for an admin; "" when it may be one.
std::string_view iscsi_name_fault(std::string_view name);
inline bool is_iscsi_name(std::string_view name) { return iscsi_name_fault(name).empty(); }

// "InitiatorName,i,0xISID" (RFC 7143 4.4.1, SPC-4 7.6.4.6).
bool is_initiator_port(std::string_view text);

}  // namespace goldlink
