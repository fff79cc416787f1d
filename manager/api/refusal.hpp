// Why a REST call was not done, as the caller is told it (RFC 9457). Handlers return
// Answer = Response or Refusal; registry errors turn into refusals by themselves. Values; any
// thread.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "common/http/server.hpp"
#include "common/result.hpp"
#include "manager/peer.hpp"

namespace goldlink::manager::api {

struct Refusal {
    int status = 500;
    std::string type;  // a stable slug: "image-in-use"
    std::string title;
    std::string detail;                        // what failed, why, what to do
    std::string field = {};                    // the body's field at fault
    std::vector<std::string> blocked_by = {};  // what stands in the way
    std::string members = {};                  // more of the problem: "\"overlap\":{...}"

    Refusal(int status_, std::string type_, std::string title_, std::string detail_)
        : status(status_),
          type(std::move(type_)),
          title(std::move(title_)),
          detail(std::move(detail_)) {}
    // An error of the registry. `unavailable` says that the database is down and that boots go on.
    Refusal(const Error& error);

    http::Response response() const;
};

template <typename T>
using Maybe = tl::expected<T, Refusal>;
using Answer = Maybe<http::Response>;
using Refused = tl::unexpected<Refusal>;

Refused refuse(int status, std::string type, std::string title, std::string detail);
Refused refuse_field(std::string field, std::string detail);  // 400 invalid
Refused refuse_blocked(std::string type, std::string title, std::string detail,
                       std::vector<std::string> blocked_by);  // 409
Refused refuse_missing(std::string what);                     // 404; what: "image win11"
// What the target or pxe said: no answer is 503 target-unavailable, its own problems pass through.
Refused refuse_peer(const Peer& peer, const PeerError& error);

}  // namespace goldlink::manager::api
