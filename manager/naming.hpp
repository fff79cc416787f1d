// Names that the manager makes: clients by a group's pattern, IQNs by client. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/result.hpp"

namespace goldlink::manager {

// A pattern is a name with one {n} or {n:03} in it (the width of the number, zero-filled).
Result<> check_naming_pattern(std::string_view pattern);

// The pattern's first name that is not taken; names compare without case. Error: exhausted.
Result<std::string> next_name(std::string_view pattern, const std::vector<std::string>& taken);

// "iqn.2026-11.io.goldlink:pc-001" for PC-001: what RFC 3722 lets stand is kept, the rest is '-'.
std::string iqn_of(std::string_view name);
// The initiator name that client's firmware and OS log in with.
std::string initiator_of(std::string_view client_name);

}  // namespace goldlink::manager
