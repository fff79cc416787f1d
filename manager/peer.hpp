// The control API of another daemon (target, pxe): JSON calls over its socket, bounded in time.
// A connection a call, so any number of threads may use a Peer at once.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "common/http/body.hpp"
#include "common/result.hpp"

namespace goldlink::manager {

struct PeerError {
    int status = 0;      // the peer's answer; 0: it gave none
    std::string type;    // the problem's slug, "" without an answer
    std::string detail;  // for the admin
    bool no_answer() const { return status == 0; }
};

template <typename T>
using PeerResult = tl::expected<T, PeerError>;

class Peer {
  public:
    // name: "target", for messages. address: "unix:/path", "host:port".
    // may_call: asked before each call; false refuses it.
    Peer(std::string name, std::string address, std::function<bool()> may_call = {});

    const std::string& name() const { return name_; }
    const std::string& address() const { return address_; }
    bool may_call() const { return !may_call_ || may_call_(); }

    // The body of a 2xx answer. `body` empty: no request body.
    PeerResult<std::string> call(std::string_view method, std::string_view path,
                                 const std::string& body = "",
                                 std::chrono::milliseconds timeout = std::chrono::seconds(5)) const;

    // Streams `source` as the body of a PUT.
    PeerResult<std::string> put_stream(std::string_view path, http::BodySource& source) const;

    // The body of a GET from a byte on, as it comes; broken off where it ends early.
    PeerResult<void> get_stream(std::string_view path, std::uint64_t offset_bytes,
                                http::BodyWriter& sink) const;
    // The body of the answer to a POST, likewise.
    PeerResult<void> post_stream(std::string_view path, const std::string& body,
                                 http::BodyWriter& sink) const;

  private:
    const std::string name_;
    const std::string address_;
    const std::function<bool()> may_call_;
};

}  // namespace goldlink::manager
