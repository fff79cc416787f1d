// One server connection: reads requests, runs their handlers, writes the answers, until the peer or
// the server ends it. Runs on a thread of its own; owned by that thread.
#pragma once

#include <atomic>

#include "common/http/router.hpp"
#include "common/http/socket_stream.hpp"

namespace goldlink::http {

inline constexpr std::size_t kMaxHeaderBytes = 16 * 1024;

class ConnectionSlot;

// What connections share with their server.
struct ConnectionContext {
    Router router;
    ServerOptions options;
    std::atomic<bool> stopping{false};
    FileDescriptor stop_event;  // readable once stopping; never drained
};

void serve_connection(SocketStream& stream, const ConnectionContext& context, ConnectionSlot& slot);

// Writes a response whole: head, then body, stream or file. `keep_alive` is what the peer allows;
// returns whether the connection may go on.
bool write_response(SocketStream& stream, const Request& request, const Response& response,
                    const ConnectionContext& context, unsigned http_version, bool keep_alive);

}  // namespace goldlink::http
