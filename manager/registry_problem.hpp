// What it means that the target does not take this registry for its own, in words for people. Pure.
#pragma once

#include <string>
#include <string_view>

namespace goldlink::manager {

// `match` as registry_identity has it; "" for own and unknown. With the way out, or without.
std::string registry_problem(std::string_view match);
std::string registry_mismatch(std::string_view match);
// The way out.
std::string_view registry_advice();

}  // namespace goldlink::manager
