#include "manager/peer.hpp"

#include <fmt/format.h>

#include "common/clean_text.hpp"
#include "common/http/client.hpp"
#include "common/json.hpp"

namespace goldlink::manager {
namespace {

PeerError from_problem(const std::string& name, const http::ClientResponse& response) {
    PeerError error{response.status, "", fmt::format("the {} answered {}", name, response.status)};
    if (const auto problem = json::parse_object(response.body)) {
        if (const auto type = json::optional_string(*problem, "type", 200); type && *type)
            error.type = **type;
        if (const auto detail = json::optional_string(*problem, "detail", 4000); detail && *detail)
            error.detail = **detail;
    }
    return error;
}

PeerResult<std::string> send(const Peer& peer, const http::ClientRequest& request) {
    if (!peer.may_call())
        return tl::unexpected(PeerError{0, "",
                                        fmt::format("the {} is not called: this manager does not "
                                                    "lead any more",
                                                    peer.name())});
    http::Client client(peer.address());
    auto response = client.send(request);
    if (!response)
        return tl::unexpected(PeerError{0, "",
                                        fmt::format("the {} at {} does not answer: {}", peer.name(),
                                                    peer.address(), response.error().message)});
    if (response->status < 200 || response->status > 299)
        return tl::unexpected(from_problem(peer.name(), *response));
    // A daemon of an older version may pass on bytes of its peers as they came.
    if (response->header("content-type").starts_with("application/json"))
        return as_utf8(std::move(response->body));
    return std::move(response->body);
}

PeerResult<void> send_to(const Peer& peer, http::ClientRequest& request, http::BodyWriter& sink) {
    request.body_to = &sink;
    auto answer = send(peer, request);
    if (answer) return {};
    sink.break_off();
    return tl::unexpected(std::move(answer).error());
}

}  // namespace

Peer::Peer(std::string name, std::string address, std::function<bool()> may_call)
    : name_(std::move(name)), address_(std::move(address)), may_call_(std::move(may_call)) {}

PeerResult<std::string> Peer::call(std::string_view method, std::string_view path,
                                   const std::string& body,
                                   std::chrono::milliseconds timeout) const {
    http::ClientRequest request;
    request.method = method;
    request.target = path;
    request.body = body;
    request.timeout = timeout;
    return send(*this, request);
}

PeerResult<std::string> Peer::put_stream(std::string_view path, http::BodySource& source) const {
    http::ClientRequest request;
    request.method = "PUT";
    request.target = path;
    request.content_type = "application/octet-stream";
    request.body_source = &source;
    return send(*this, request);
}

PeerResult<void> Peer::get_stream(std::string_view path, std::uint64_t offset_bytes,
                                  http::BodyWriter& sink) const {
    http::ClientRequest request;
    request.target = path;
    if (offset_bytes > 0)
        request.headers.emplace_back("Range", fmt::format("bytes={}-", offset_bytes));
    return send_to(*this, request, sink);
}

PeerResult<void> Peer::post_stream(std::string_view path, const std::string& body,
                                   http::BodyWriter& sink) const {
    http::ClientRequest request;
    request.method = "POST";
    request.target = path;
    request.content_type = "application/octet-stream";
    request.body = body;
    return send_to(*this, request, sink);
}

}  // namespace goldlink::manager
