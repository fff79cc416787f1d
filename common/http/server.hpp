// A small HTTP/1.1 server for control APIs, REST and boot files, on TCP or a unix socket.
//
// Each connection has a thread of its own from a bounded set, so handlers may block (libpq, files).
// Requests are bounded in header size (16 KiB), body (per route) and time; a peer that is slow or
// silent is dropped, earlier when others need its connection. Handlers run on connection threads,
// many at once: what they touch must be safe. Built on Boost.Beast, which stays out of this header.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/http/body.hpp"
#include "common/result.hpp"

namespace goldlink::http {

struct Request {
    std::string method;                          // upper case
    std::string path;                            // decoded, without the query
    std::map<std::string, std::string> params;   // from the route's {name} segments
    std::map<std::string, std::string> query;    // decoded; the last of a repeated key
    std::map<std::string, std::string> headers;  // names in lower case
    std::string body;                            // empty on streaming routes
    BodyReader* body_reader = nullptr;           // set on streaming routes
    std::string peer;                            // "10.0.0.7" or "unix"
    std::string local;                           // "10.0.0.1:8080" or "unix"
    // True once the server is stopping or the peer hung up: a handler that waits (long poll) asks
    // at least twice a second and then returns anything. Always set by the server.
    std::function<bool()> should_end;

    std::string header(std::string_view name) const;  // "" when absent; name in lower case
    std::string query_value(std::string_view name, std::string_view fallback = "") const;
};

struct Response {
    int status = 200;
    std::string content_type = "application/json";
    std::string body;
    std::vector<std::pair<std::string, std::string>> headers;
    // When set, the body is what this writes, and `body` is ignored: `stream_bytes` of it, or
    // chunked where that is not known. Runs on the connection's thread.
    std::function<void(BodyWriter&)> stream;
    std::optional<std::uint64_t> stream_bytes{};
    // When set, the body is this file, sent with Content-Length, ranges and Last-Modified.
    std::string file_path;
};

// RFC 9457 problem details. `type` is a stable slug ("image-in-use"); `detail` says what, why and
// what to do. Extra members are appended as given JSON text ("\"blocked_by\":[...]").
Response problem(int status, std::string_view type, std::string_view title, std::string_view detail,
                 std::string_view extra_json_members = "");
// The problem that fits an Error: invalid 400, not_found 404, conflict 409, denied 403, exhausted
// 507, corrupt 500, unavailable 503, timeout 504, io 500, cancelled 409.
Response problem(const Error& error);

using Handler = std::function<Response(Request&)>;

struct Route {
    std::string method;   // "GET"
    std::string pattern;  // "/api/v1/images/{image}"; a last "{path...}" matches the rest
    Handler handler;
    std::size_t max_body_bytes = 1 << 20;
    bool streaming_body = false;  // the handler reads Request::body_reader itself, unbounded
};

struct ServerOptions {
    unsigned max_connections = 256;         // who gets them: connection_room.hpp
    std::chrono::seconds idle_timeout{30};  // between requests of a kept-alive connection
    std::chrono::seconds io_timeout{30};    // for each read or write to make progress
    // For a request's header as a whole, from its first byte on; at most io_timeout.
    std::chrono::seconds header_timeout{10};
    // Runs before the route's handler (authentication); a response other than status 0 ends it.
    std::function<Response(const Request&, const Route&)> before{};
    // Answers what no route matches. Default: problem 404, or 405 when the path has other methods.
    Handler fallback{};
    std::string server_name = "goldlink";
};

class Server {
  public:
    Server(std::vector<Route> routes, ServerOptions options = {});
    ~Server();  // stops

    // Starts to listen: "127.0.0.1:8080", "[::]:8080", "unix:/run/goldlink/target.sock" (mode 0600,
    // a stale socket file is replaced). May be called several times. Port 0 picks one.
    Result<> listen(const std::string& address);
    std::uint16_t port() const;  // of the last TCP listener
    // Stops accepting, ends idle connections, waits for running handlers. After `kStopGrace` their
    // sockets are shut down under them; a handler that then still runs is waited for.
    void stop();
    static constexpr std::chrono::seconds kStopGrace{5};

  private:
    struct State;
    std::shared_ptr<State> state_;
};

}  // namespace goldlink::http
