// Spares iPXE its wait for IPv6. In a room without an IPv6 router iPXE solicits one for some 13 s
// at each of its DHCP stages before it goes on. We answer a machine that is booting, and no other,
// with an advertisement that offers nothing: lifetime 0 (RFC 4861 section 4.2: not a default
// router), no prefix, no DHCPv6. It changes no route anywhere. The DHCP thread's only.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "common/bytes.hpp"
#include "common/file.hpp"
#include "common/mac.hpp"
#include "common/result.hpp"

namespace goldlink::pxe {

// Receives router solicitations of one interface. Errors where the kernel has no IPv6.
Result<FileDescriptor> open_solicitations(const std::string& interface);

// Reads what waits and answers the machines that `is_booting` says yes to.
void answer_solicitations(int fd, const std::function<bool(const Mac&)>& is_booting);

// Who sends this router solicitation, by its source link-layer address option; nullopt when it is
// none or has none.
std::optional<Mac> soliciting_machine(Bytes icmpv6);

}  // namespace goldlink::pxe
