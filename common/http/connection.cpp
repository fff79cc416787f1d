#include "common/http/connection.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "common/http/connection_room.hpp"
#include "common/http/relay.hpp"
#include "common/http/request_head.hpp"
#include "common/log.hpp"

namespace goldlink::http {
namespace {

namespace beast = boost::beast;
using ErrorCode = boost::system::error_code;
using Parser = beast::http::request_parser<beast::http::buffer_body>;

constexpr std::size_t kReadBufferBytes = 64 * 1024;
// A body read into memory must come at least this fast on the whole, or the peer is dropped.
constexpr std::uint64_t kSlowestBodyBytesPerSecond = 64 * 1024;
// What is left of a body that nobody read: so much is swallowed to keep the connection, else it
// ends.
constexpr std::uint64_t kDrainBytes = 256 * 1024;

Failure body_failure(const ErrorCode& error) {
    if (error == boost::asio::error::timed_out)
        return failure(ErrorKind::timeout, "the request body stopped coming");
    if (error == beast::http::error::partial_message ||
        error == beast::http::error::end_of_stream || error == boost::asio::error::eof ||
        error.category() == boost::system::system_category())
        return failure(ErrorKind::unavailable,
                       "the peer closed the connection within the request body");
    return failure(ErrorKind::invalid, fmt::format("malformed request body: {}", error.message()));
}

class ParsedBody final : public BodyReader {
  public:
    ParsedBody(SocketStream& stream, beast::flat_buffer& buffer, Parser& parser)
        : stream_(stream), buffer_(buffer), parser_(parser) {
        expects_continue_ =
            beast::iequals(parser.get()[beast::http::field::expect], "100-continue");
        if (const auto length = parser.content_length()) left_ = *length;
    }

    Result<std::size_t> read(std::span<char> out) override {
        if (is_done() || out.empty()) return std::size_t{0};
        GOLDLINK_TRY(ask_for_it());
        return left_ ? read_counted(out, *left_) : read_chunks(out);
    }

    Result<std::size_t> pass_to(SocketStream& out, std::uint64_t at_most) override {
        if (is_done()) return std::size_t{0};
        GOLDLINK_TRY(ask_for_it());
        // What came with the header is in memory already.
        if (!left_ || buffer_.size() > 0) return BodyReader::pass_to(out, at_most);
        ErrorCode error;
        ErrorCode out_error;
        stream_.set_interrupt_fd(out.fd());  // its answer may come before the body's end
        const std::size_t n =
            relay_.move(stream_, out, std::min(*left_, at_most), error, out_error);
        stream_.set_interrupt_fd(-1);
        *left_ -= n;
        failed_ = failed_ || error || out_error;
        if (error && error != boost::asio::error::operation_aborted) return body_failure(error);
        if (error || out_error)
            return failure(ErrorKind::cancelled, "the receiver takes no more of the body");
        return n;
    }

    std::uint64_t declared_length() const override {
        const auto length = parser_.content_length();
        return length ? *length : 0;
    }

    bool is_done() const { return left_ ? *left_ == 0 : parser_.is_done(); }

    // Whether what is unread is short enough to swallow, so that the connection can go on.
    bool can_drain() const {
        if (is_done()) return true;
        if (failed_ || expects_continue_) return false;
        return left_ && *left_ <= kDrainBytes;
    }

    bool drain() {
        char waste[4096];
        while (!is_done())
            if (!read(waste)) return false;
        return true;
    }

  private:
    Result<> ask_for_it() {
        if (!std::exchange(expects_continue_, false)) return {};
        ErrorCode error;
        stream_.write_all("HTTP/1.1 100 Continue\r\n\r\n", "", "", error);
        if (error) return body_failure(error);
        return {};
    }

    // Of a body whose length is known the bytes need no parser.
    Result<std::size_t> read_counted(std::span<char> out, std::uint64_t& left) {
        const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), left));
        std::size_t n = std::min(wanted, buffer_.size());
        if (n > 0) {
            std::memcpy(out.data(), buffer_.data().data(), n);
            buffer_.consume(n);
        } else {
            ErrorCode error;
            n = stream_.read_some(boost::asio::buffer(out.data(), wanted), error);
            failed_ = bool(error);
            if (error) return body_failure(error);
        }
        left -= n;
        return n;
    }

    Result<std::size_t> read_chunks(std::span<char> out) {
        ErrorCode error;
        auto& body = parser_.get().body();
        body.data = out.data();
        body.size = out.size();
        body.more = true;
        while (body.size == out.size() && !parser_.is_done()) {
            beast::http::read_some(stream_, buffer_, parser_, error);
            if (error == beast::http::error::need_buffer) error = {};
            if (error) {
                failed_ = true;
                return body_failure(error);
            }
        }
        return out.size() - body.size;
    }

    SocketStream& stream_;
    beast::flat_buffer& buffer_;
    Parser& parser_;
    std::optional<std::uint64_t> left_;  // of a Content-Length; nullopt: chunks, or no body
    Relay relay_;
    bool expects_continue_ = false;
    bool failed_ = false;
};

// The answer to bytes that were no acceptable request.
Response header_problem(const ErrorCode& error) {
    if (error == beast::http::error::header_limit || error == beast::http::error::buffer_overflow)
        return problem(431, "header-too-large", "Request header too large",
                       fmt::format("the request header may have {} bytes", kMaxHeaderBytes));
    if (error == boost::asio::error::timed_out)
        return problem(408, "timeout", "Request timeout",
                       "the request header did not come in time");
    return problem(400, "malformed-request", "Not an HTTP request", error.message());
}

// After an early answer the peer may still be sending; closing at once would reset the connection
// and could take the answer with it.
void close_gently(SocketStream& stream) {
    stream.shut_down_send();
    stream.set_step_timeout(std::chrono::milliseconds(500));
    stream.set_deadline(SocketStream::Clock::now() + std::chrono::seconds(1));
    char waste[16384];
    ErrorCode error;
    while (!error) stream.read_some(boost::asio::buffer(waste), error);
    stream.shut_down();
}

Response malformed(std::string_view why) {
    return problem(400, "malformed-request", "Not an acceptable HTTP request",
                   fmt::format("the request is refused and the connection ends: {}", why));
}

// The head, read whole and found fit (request_head.hpp), then parsed. What the parser does not take
// is in `error`, what is refused before it in `refused`.
void read_head(SocketStream& stream, beast::flat_buffer& buffer, Parser& parser, ErrorCode& error,
               std::optional<Response>& refused) {
    HeadEnd end;
    for (;;) {
        const std::string_view bytes(static_cast<const char*>(buffer.data().data()), buffer.size());
        const HeadEnd::Found found = end.look(bytes.substr(0, kMaxHeaderBytes));
        if (found == HeadEnd::Found::fault) {
            refused = malformed(end.fault());
            return;
        }
        if (found == HeadEnd::Found::end) {
            if (const std::string fault = head_fault(bytes.substr(0, end.head_bytes()));
                !fault.empty()) {
                refused = malformed(fault);
                return;
            }
            buffer.consume(parser.put(buffer.data(), error));
            return;
        }
        if (bytes.size() >= kMaxHeaderBytes) {
            error = beast::http::error::header_limit;
            return;
        }
        const auto room = buffer.prepare(kReadBufferBytes - buffer.size());
        const std::size_t n = stream.read_some(room, error);
        buffer.commit(n);
        if (error == boost::asio::error::eof) error = beast::http::error::end_of_stream;
        if (error) return;
    }
}

void fill_request(Request& request, const Parser& parser, Target&& target,
                  const SocketStream& stream, const ConnectionContext& context) {
    const auto& message = parser.get();
    request.method = std::string(message.method_string());
    request.path = std::move(target.path);
    request.query = std::move(target.query);
    const std::string authority = std::move(target.authority);
    for (const auto& field : message) {
        std::string name(field.name_string());
        for (char& c : name)
            if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
        std::string& value = request.headers[std::move(name)];
        if (!value.empty()) value += ", ";  // RFC 9110 5.3
        value += std::string_view(field.value().data(), field.value().size());
    }
    if (!authority.empty()) request.headers["host"] = authority;  // RFC 9112 3.2.2
    request.should_end = [&stream, &context] {
        return context.stopping.load(std::memory_order_relaxed) || stream.peer_gone();
    };
}

Response no_route(Request& request, const Router::Match& match, const ConnectionContext& context) {
    if (!match.allowed.empty()) {
        const std::string allowed = fmt::format("{}", fmt::join(match.allowed, ", "));
        Response response = problem(405, "method-not-allowed", "Method not allowed",
                                    fmt::format("{} allows {}", request.path, allowed));
        response.headers.emplace_back("Allow", allowed);
        return response;
    }
    if (context.options.fallback) return context.options.fallback(request);
    return problem(404, "no-such-route", "Not found",
                   fmt::format("there is nothing at {} {}", request.method, request.path));
}

Result<> read_whole_body(SocketStream& stream, ParsedBody& body, std::size_t max_bytes,
                         std::chrono::seconds io_timeout, std::string& out) {
    stream.set_deadline(SocketStream::Clock::now() + io_timeout +
                        std::chrono::seconds(max_bytes / kSlowestBodyBytesPerSecond));
    out.reserve(
        static_cast<std::size_t>(std::min<std::uint64_t>(body.declared_length(), max_bytes)));
    char chunk[65536];
    for (;;) {
        auto n = body.read(chunk);
        if (!n) return Failure(std::move(n).error());
        if (*n == 0) break;
        if (out.size() + *n > max_bytes)
            return failure(ErrorKind::exhausted, "the body is longer than the route takes");
        out.append(chunk, *n);
    }
    stream.set_deadline(std::nullopt);
    return {};
}

Response too_large(const Route& route) {
    return problem(413, "body-too-large", "Request body too large",
                   fmt::format("{} {} takes at most {} bytes", route.method, route.pattern,
                               route.max_body_bytes));
}

Response run_handler(const Router::Match& match, Request& request, ParsedBody& body,
                     SocketStream& stream, const ConnectionContext& context) {
    const Route& route = *match.route;
    if (context.options.before) {
        Response early = context.options.before(request, route);
        if (early.status != 0) return early;
    }
    if (route.streaming_body) {
        request.body_reader = &body;
    } else {
        if (body.declared_length() > route.max_body_bytes) return too_large(route);
        if (auto read = read_whole_body(stream, body, route.max_body_bytes,
                                        context.options.io_timeout, request.body);
            !read) {
            if (read.error().kind == ErrorKind::exhausted) return too_large(route);
            if (read.error().kind == ErrorKind::timeout)
                return problem(408, "timeout", "Request timeout", read.error().message);
            return problem(400, "malformed-request", "The request body is not valid",
                           read.error().message);
        }
    }
    return route.handler(request);
}

// One request and its answer. Returns whether the connection goes on.
bool serve_request(SocketStream& stream, beast::flat_buffer& buffer,
                   const ConnectionContext& context, ConnectionSlot& slot) {
    Parser parser;
    parser.header_limit(kMaxHeaderBytes);
    parser.body_limit(std::numeric_limits<std::uint64_t>::max());
    ErrorCode error;

    slot.await_request();
    stream.set_interrupt_fd(context.stop_event.get());
    if (buffer.size() == 0) {
        stream.set_step_timeout(context.options.idle_timeout);
        stream.set_deadline(std::nullopt);
        stream.wait_readable(error);
        if (error) return false;
    }
    stream.set_step_timeout(context.options.io_timeout);
    stream.set_deadline(SocketStream::Clock::now() +
                        std::min(context.options.header_timeout, context.options.io_timeout));
    std::optional<Response> refused;
    read_head(stream, buffer, parser, error, refused);
    stream.set_deadline(std::nullopt);
    stream.set_interrupt_fd(-1);
    slot.begin_request();

    Request request;
    if (refused) {
        request.method = "GET";
        write_response(stream, request, *refused, context, 11, false);
        close_gently(stream);
        return false;
    }
    if (error) {
        const bool silent = error == beast::http::error::end_of_stream ||
                            error == beast::http::error::partial_message ||
                            error == boost::asio::error::operation_aborted ||
                            error.category() == boost::system::system_category();
        if (silent && error != boost::asio::error::timed_out) return false;
        request.method = "GET";
        write_response(stream, request, header_problem(error), context, 11, false);
        close_gently(stream);
        return false;
    }

    request.peer = peer_host(stream.fd());
    request.local = local_name(stream.fd());
    ParsedBody body(stream, buffer, parser);
    const unsigned version = parser.get().version();
    bool keep_alive = parser.get().keep_alive();
    Response response;
    auto target =
        Target::parse(std::string_view(parser.get().target().data(), parser.get().target().size()));
    if (!target) {
        request.method = std::string(parser.get().method_string());
        response = problem(target.error());
    } else {
        Router::Match match =
            context.router.find(std::string_view(parser.get().method_string().data(),
                                                 parser.get().method_string().size()),
                                *target);
        fill_request(request, parser, std::move(*target), stream, context);
        try {
            if (match.route != nullptr) {
                request.params = std::move(match.params);
                response = run_handler(match, request, body, stream, context);
            } else {
                response = no_route(request, match, context);
            }
        } catch (const std::exception& exception) {
            log::error("handler of {} {} failed: {}", request.method, request.path,
                       exception.what());
            response = problem(500, "internal-error", "Internal error",
                               "the handler failed; the log of this daemon says more");
        }
    }
    stream.set_deadline(std::nullopt);
    stream.set_step_timeout(context.options.io_timeout);
    if (context.stopping.load(std::memory_order_relaxed)) keep_alive = false;
    const bool can_drain = body.can_drain();
    // The answer goes first: a peer that stopped within its body may be waiting for it.
    const bool go_on =
        write_response(stream, request, response, context, version, keep_alive && can_drain);
    if (go_on) {
        stream.set_deadline(SocketStream::Clock::now() + context.options.io_timeout);
        return body.drain();
    }
    close_gently(stream);
    return false;
}

}  // namespace

void serve_connection(SocketStream& stream, const ConnectionContext& context,
                      ConnectionSlot& slot) {
    beast::flat_buffer buffer(kReadBufferBytes);
    buffer.reserve(kReadBufferBytes);  // else it reads 512 bytes a call
    while (!context.stopping.load(std::memory_order_relaxed) &&
           serve_request(stream, buffer, context, slot)) {
    }
    stream.shut_down();
}

}  // namespace goldlink::http
