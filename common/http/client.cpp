#include "common/http/client.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <limits>

#include "common/http/relay.hpp"

namespace goldlink::http {
namespace {

namespace beast = boost::beast;
using ErrorCode = boost::system::error_code;
using Parser = beast::http::response_parser<beast::http::buffer_body>;
using Clock = SocketStream::Clock;

constexpr std::size_t kMaxResponseHeaderBytes = 64 * 1024;
constexpr std::size_t kStepBytes = 256 * 1024;
constexpr std::size_t kMaxReserveBytes = 2 << 20;  // for an answer that only says its length
constexpr std::size_t kReadBufferBytes = 64 * 1024;
// The other side closes what was idle for longer, perhaps while a request is on its way: one that
// may not be sent twice is not risked on such a connection.
constexpr std::chrono::milliseconds kTrustedIdle{500};

bool is_clean_text(std::string_view text) {
    return std::all_of(text.begin(), text.end(),
                       [](char c) { return static_cast<unsigned char>(c) >= ' '; });
}

// RFC 9110 7.2
std::string host_field(const Address& address) {
    if (address.unix_socket) return "localhost";
    if (address.host.find(':') != std::string::npos)
        return fmt::format("[{}]:{}", address.host, address.port);
    return fmt::format("{}:{}", address.host, address.port);
}

// May be sent again when the connection broke before any answer (RFC 9110 9.2.2).
bool is_repeatable(const ClientRequest& request) {
    return request.method != "POST" && request.method != "PATCH" && request.body_source == nullptr;
}

}  // namespace

struct Client::State {
    std::string address_text;
    Result<Address> address = failure(ErrorKind::invalid, "no address");
    SocketStream stream;
    Clock::time_point last_answer;  // when `stream` was last known to be kept
    beast::flat_buffer buffer;

    Failure lost(const ErrorCode& error) const {
        if (error == boost::asio::error::timed_out)
            return failure(ErrorKind::timeout,
                           fmt::format("{} does not answer in time", address_text));
        if (error == beast::http::error::end_of_stream ||
            error == beast::http::error::partial_message || error == boost::asio::error::eof ||
            error.category() == boost::system::system_category())
            return failure(
                ErrorKind::unavailable,
                fmt::format("{} closed the connection before its answer was complete ({})",
                            address_text, error.message()));
        return failure(ErrorKind::invalid, fmt::format("{} does not answer in HTTP: {}",
                                                       address_text, error.message()));
    }

    Result<bool> connect(const ClientRequest& request) {  // true: the connection was used before
        const bool trusted = is_repeatable(request) || Clock::now() - last_answer < kTrustedIdle;
        if (stream.is_open() && trusted && !stream.readable()) return true;
        stream.close();
        buffer.clear();
        GOLDLINK_TRY_ASSIGN(FileDescriptor fd, connect_to(*address, request.timeout));
        stream = SocketStream(std::move(fd));
        buffer.reserve(kReadBufferBytes);  // else it reads 512 bytes a call
        return false;
    }

    std::string make_head(const ClientRequest& request) const {
        std::string head = fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\n", request.method,
                                       request.target, host_field(*address));
        for (const auto& [name, value] : request.headers)
            head += fmt::format("{}: {}\r\n", name, value);
        if (request.body_source != nullptr)
            head += fmt::format("Content-Type: {}\r\nContent-Length: {}\r\n", request.content_type,
                                request.body_source->declared_length());
        else if (!request.body.empty() || (request.method != "GET" && request.method != "HEAD"))
            head += fmt::format("Content-Type: {}\r\nContent-Length: {}\r\n", request.content_type,
                                request.body.size());
        return head + "\r\n";
    }

    // An answer that comes early (refusal of an upload) ends the sending without error; one may be
    // waiting when the connection breaks, too.
    Result<> send_streamed(BodySource& source, bool& cut_short) {
        for (std::uint64_t left = source.declared_length(); left > 0;) {
            cut_short = stream.readable();
            if (cut_short) return {};
            const auto n = source.pass_to(stream, left);
            cut_short = !n && stream.readable();
            if (cut_short) return {};
            if (!n && n.error().kind == ErrorKind::cancelled)  // and nothing says why
                return failure(ErrorKind::timeout,
                               fmt::format("{} takes no more of the body", address_text));
            if (!n) return Failure(n.error());
            if (*n == 0)
                return failure(
                    ErrorKind::invalid,
                    fmt::format("the body ended {} bytes before its stated length", left));
            left -= *n;
        }
        return {};
    }

    // Sends head and body.
    Result<> send_request(const ClientRequest& request, ErrorCode& error, bool& cut_short) {
        const std::string head = make_head(request);
        if (request.body_source == nullptr) {
            stream.write_all(head, request.body, "", error);
            return {};
        }
        stream.write_all(head, "", "", error);
        if (error) return {};
        stream.set_interrupt_fd(stream.fd());  // an answer also ends the wait for room to send
        auto sent = send_streamed(*request.body_source, cut_short);
        stream.set_interrupt_fd(-1);
        return sent;
    }

    // The rest of a body whose length is known needs no parser.
    Result<> take(const std::function<bool(std::string_view)>& sink, std::uint64_t left) {
        std::vector<char> chunk(kStepBytes);
        while (left > 0) {
            ErrorCode error;
            const std::size_t n = stream.read_some(
                boost::asio::buffer(chunk.data(), std::min<std::uint64_t>(left, chunk.size())),
                error);
            if (error) return lost(error);
            if (!sink({chunk.data(), n})) return ended_by_caller();
            left -= n;
        }
        return {};
    }
    Result<> relay(BodyWriter& to, std::uint64_t left) {
        while (left > 0) {
            const auto n = std::min<std::uint64_t>(left, kRelayStepBytes);
            GOLDLINK_TRY(to.take_from(stream, n));
            if (to.stopping()) return ended_by_caller();
            left -= n;
        }
        return {};
    }

    static Failure ended_by_caller() {
        return failure(ErrorKind::cancelled, "the caller ended the download");
    }

    Result<> hand_on(const ClientRequest& request, std::string_view got) {
        if (request.body_to != nullptr) return request.body_to->write(got);
        if (!request.on_data(got)) return ended_by_caller();
        return {};
    }

    Result<> read_body(const ClientRequest& request, Parser& parser, ClientResponse& response) {
        const bool to_sink = (request.on_data || request.body_to != nullptr) &&
                             response.status >= 200 && response.status < 300;
        const bool counted = to_sink && parser.content_length().has_value();
        if (!to_sink && parser.content_length())
            response.body.reserve(static_cast<std::size_t>(std::min<std::uint64_t>(
                *parser.content_length(), std::min(request.max_response_bytes, kMaxReserveBytes))));
        char chunk[65536];
        ErrorCode error;
        while (!parser.is_done()) {
            if (counted && buffer.size() == 0) {  // what came with the header is read
                const std::uint64_t left = *parser.content_length_remaining();
                return request.body_to != nullptr ? relay(*request.body_to, left)
                                                  : take(request.on_data, left);
            }
            auto& body = parser.get().body();
            body.data = chunk;
            body.size = sizeof chunk;
            beast::http::read_some(stream, buffer, parser, error);
            if (error == beast::http::error::need_buffer) error = {};
            if (error) return lost(error);
            const std::string_view got(chunk, sizeof chunk - body.size);
            if (got.empty()) continue;
            if (to_sink) {
                GOLDLINK_TRY(hand_on(request, got));
            } else if (response.body.size() + got.size() > request.max_response_bytes) {
                return failure(ErrorKind::invalid,
                               fmt::format("the answer of {} is longer than {} bytes", address_text,
                                           request.max_response_bytes));
            } else {
                response.body += got;
            }
        }
        return {};
    }

    // `broken_early`: the connection broke before a byte of the answer came.
    Result<ClientResponse> exchange(const ClientRequest& request, bool& broken_early) {
        stream.set_step_timeout(request.timeout);
        const bool per_step =
            request.body_source != nullptr || request.on_data || request.body_to != nullptr;
        stream.set_deadline(per_step ? std::nullopt
                                     : std::optional(Clock::now() + request.timeout));
        ErrorCode error;
        bool cut_short = false;
        GOLDLINK_TRY(send_request(request, error, cut_short));
        if (error) {
            broken_early = error != boost::asio::error::timed_out;
            return lost(error);
        }
        ClientResponse response;
        // 1xx answers (100 Continue) come before the real one.
        for (;;) {
            Parser parser;
            parser.header_limit(kMaxResponseHeaderBytes);
            parser.body_limit(std::numeric_limits<std::uint64_t>::max());
            if (request.method == "HEAD") parser.skip(true);
            beast::http::read_header(stream, buffer, parser, error);
            if (error) {
                broken_early = buffer.size() == 0 && error != boost::asio::error::timed_out;
                return lost(error);
            }
            response.status = static_cast<int>(parser.get().result_int());
            if (response.status >= 100 && response.status < 200) continue;
            for (const auto& field : parser.get()) {
                std::string name(field.name_string());
                for (char& c : name)
                    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
                response.headers.emplace_back(std::move(name), std::string(field.value()));
            }
            GOLDLINK_TRY(read_body(request, parser, response));
            if (!parser.keep_alive() || cut_short) stream.close();
            last_answer = Clock::now();
            return response;
        }
    }
};

std::string ClientResponse::header(std::string_view name) const {
    for (const auto& [key, value] : headers)
        if (key == name) return value;
    return {};
}

Client::Client(std::string address) : state_(std::make_unique<State>()) {
    state_->address = Address::parse(address);
    state_->address_text = std::move(address);
}
Client::~Client() = default;
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;

Result<ClientResponse> Client::send(const ClientRequest& request) {
    if (!state_->address) return Failure(state_->address.error());
    bool clean = is_clean_text(request.method) && is_clean_text(request.target) &&
                 request.target.starts_with("/") && request.target.find(' ') == std::string::npos &&
                 is_clean_text(request.content_type);
    for (const auto& [name, value] : request.headers)
        clean = clean && is_clean_text(name) && is_clean_text(value);
    if (!clean)
        return failure(ErrorKind::invalid,
                       "the request's target or a header has characters HTTP forbids");
    for (;;) {
        GOLDLINK_TRY_ASSIGN(const bool reused, state_->connect(request));
        bool broken_early = false;
        auto response = state_->exchange(request, broken_early);
        if (response) return response;
        state_->stream.close();
        // A kept connection may have been closed by the other side just now: that is no failure
        // yet.
        if (!(reused && broken_early && is_repeatable(request))) return response;
    }
}

}  // namespace goldlink::http
