#include "manager/api/refusal.hpp"

#include <fmt/format.h>

#include "common/json.hpp"
#include "common/log.hpp"

namespace goldlink::manager::api {

Refusal::Refusal(const Error& error) : detail(error.message) {
    switch (error.kind) {
        case ErrorKind::unavailable:
        case ErrorKind::timeout:
            status = 503;
            type = "database-unavailable";
            title = "The registry's database does not answer";
            detail +=
                ". Running PCs and new boots go on: the target and pxe serve what they were last "
                "given. "
                "This call works again by itself once PostgreSQL is back";
            return;
        case ErrorKind::invalid:
            status = 400;
            type = "invalid";
            title = "The request is not valid";
            return;
        case ErrorKind::conflict:
            status = 409;
            type = "conflict";
            title = "It conflicts with what exists or was changed meanwhile";
            return;
        case ErrorKind::not_found:
            status = 404;
            type = "not-found";
            title = "Not found";
            return;
        default:
            status = 500;
            type = "internal";
            title = "The manager could not do it";
            log::error("a REST call failed: {}", error.message);
    }
}

http::Response Refusal::response() const {
    json::object extra;
    if (!field.empty()) extra["field"] = field;
    if (!blocked_by.empty())
        extra["blocked_by"] = json::array(blocked_by.begin(), blocked_by.end());
    std::string shown = json::serialize(extra);
    shown = shown.substr(1, shown.size() - 2);  // without the braces
    if (!members.empty()) shown += (shown.empty() ? "" : ",") + members;
    http::Response response = http::problem(status, type, title, detail, shown);
    if (status == 401)
        response.headers.emplace_back("WWW-Authenticate", "Bearer realm=\"goldlink\"");
    if (status == 503) response.headers.emplace_back("Retry-After", "2");
    return response;
}

Refused refuse(int status, std::string type, std::string title, std::string detail) {
    return Refused(Refusal(status, std::move(type), std::move(title), std::move(detail)));
}

Refused refuse_field(std::string field, std::string detail) {
    Refusal refusal(400, "invalid", "The request is not valid", std::move(detail));
    refusal.field = std::move(field);
    return Refused(std::move(refusal));
}

Refused refuse_blocked(std::string type, std::string title, std::string detail,
                       std::vector<std::string> blocked_by) {
    Refusal refusal(409, std::move(type), std::move(title), std::move(detail));
    refusal.blocked_by = std::move(blocked_by);
    return Refused(std::move(refusal));
}

Refused refuse_missing(std::string what) {
    return refuse(404, "not-found", "Not found", fmt::format("there is no {}", what));
}

Refused refuse_peer(const Peer& peer, const PeerError& error) {
    if (error.no_answer())
        return refuse(503, peer.name() + "-unavailable",
                      fmt::format("The {} does not answer", peer.name()),
                      fmt::format("{}. Start goldlink-{} or look at its log; then try again",
                                  error.detail, peer.name()));
    // A refusal of the peer is about what the caller asked for; anything else is ours to explain.
    const bool callers =
        error.status == 400 || error.status == 404 || error.status == 409 || error.status == 507;
    return refuse(callers ? error.status : 502,
                  error.type.empty() ? peer.name() + "-failed" : error.type,
                  fmt::format("The {} refused", peer.name()), error.detail);
}

}  // namespace goldlink::manager::api
