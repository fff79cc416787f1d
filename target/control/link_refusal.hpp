// Why an operation on a link was refused, in the words of its problem. Threads: any.
#pragma once

#include <fmt/format.h>

#include "target/control/link_table.hpp"

namespace goldlink::control {

inline tl::unexpected<OperationError> refuse(ErrorKind kind, std::string_view type,
                                             std::string message) {
    return tl::unexpected(OperationError{{kind, std::move(message), 0}, std::string(type), {}});
}
inline tl::unexpected<OperationError> refuse(Error error) {
    return tl::unexpected(OperationError{std::move(error), "", {}});
}
inline tl::unexpected<OperationError> no_such_link(std::string_view id) {
    return refuse(ErrorKind::not_found, "no-such-link", fmt::format("there is no link {}", id));
}

// "iqn.pc at 10.0.0.9:1, iqn.other at 10.0.0.7:2"
std::string initiators_of(const LinkReport& report);

}  // namespace goldlink::control
