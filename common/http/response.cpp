// Writing responses: heads, chunked streams, files with ranges.
#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <array>
#include <boost/beast/http/status.hpp>
#include <charconv>
#include <ctime>
#include <utility>

#include "common/http/connection.hpp"
#include "common/http/relay.hpp"
#include "common/log.hpp"

namespace goldlink::http {
namespace {

using ErrorCode = boost::system::error_code;

std::string http_date(std::time_t time) {
    std::tm parts{};
    ::gmtime_r(&time, &parts);
    return fmt::format("{:%a, %d %b %Y %H:%M:%S} GMT", parts);
}

void add_header(std::string& head, std::string_view name, std::string_view value) {
    head += name;
    head += ": ";
    // A value with a line break would let whoever chose it write headers of his own.
    for (const char c : value) head += c == '\r' || c == '\n' || c == '\0' ? ' ' : c;
    head += "\r\n";
}

std::string make_head(const Response& response, int status, const ConnectionContext& context,
                      bool keep_alive) {
    std::string head =
        fmt::format("HTTP/1.1 {} {}\r\n", status,
                    std::string_view(boost::beast::http::obsolete_reason(
                        boost::beast::http::int_to_status(static_cast<unsigned>(status)))));
    add_header(head, "Server", context.options.server_name);
    add_header(head, "Date", http_date(std::time(nullptr)));
    if (!response.content_type.empty() && status != 204 && status != 304)
        add_header(head, "Content-Type", response.content_type);
    for (const auto& [name, value] : response.headers) add_header(head, name, value);
    if (!keep_alive) add_header(head, "Connection", "close");
    return head;
}

bool has_no_body(int status) {
    return status == 204 || status == 304 || (status >= 100 && status < 200);
}

class StreamWriter final : public BodyWriter {
  public:
    // `length`: of the body, as the head says; else it is in chunks or ends with the connection.
    StreamWriter(SocketStream& stream, const ConnectionContext& context, std::string head,
                 bool chunked, std::optional<std::uint64_t> length)
        : stream_(stream),
          context_(context),
          head_(std::move(head)),
          chunked_(chunked),
          left_(length) {}

    Result<> write(std::string_view bytes) override {
        if (error_) return gone();
        if (bytes.empty() && head_.empty()) return {};
        if (auto counted = count(bytes.size()); !counted) return counted;
        std::string before = std::move(head_);
        head_.clear();
        if (chunked_ && !bytes.empty()) before += fmt::format("{:x}\r\n", bytes.size());
        stream_.write_all(before, bytes, chunked_ && !bytes.empty() ? "\r\n" : "", error_);
        if (error_) return gone();
        return {};
    }

    Result<> take_from(SocketStream& from, std::size_t count) override {
        if (error_) return gone();
        if (count == 0) return {};
        if (auto counted = this->count(count); !counted) return counted;
        const std::string before = std::exchange(head_, std::string()) +
                                   (chunked_ ? fmt::format("{:x}\r\n", count) : std::string());
        stream_.write_all(before, "", "", error_);
        ErrorCode from_error;
        while (count > 0 && !error_ && !from_error)
            count -= relay_.move(from, stream_, count, from_error, error_);
        if (from_error) {
            error_ = from_error;  // within a chunk: only the end of the connection tells the peer
            return failure(ErrorKind::unavailable,
                           "the rest of the response does not come: " + from_error.message());
        }
        if (chunked_ && !error_) stream_.write_all("\r\n", "", "", error_);
        if (error_) return gone();
        return {};
    }

    void break_off() override { error_ = boost::asio::error::connection_aborted; }

    bool stopping() const override { return context_.stopping.load(std::memory_order_relaxed); }

    // False: the connection must end.
    bool finish() {
        if (error_ || left_.value_or(0) > 0) return false;
        stream_.write_all(head_, chunked_ ? "0\r\n\r\n" : "", "", error_);
        return !error_ && (chunked_ || left_);
    }

  private:
    Result<> count(std::size_t bytes) {
        if (!left_) return {};
        if (bytes > *left_) {
            break_off();
            return failure(ErrorKind::invalid, "the body is longer than it was said to be");
        }
        *left_ -= bytes;
        return {};
    }
    Failure gone() const {
        return failure(
            error_ == boost::asio::error::timed_out ? ErrorKind::timeout : ErrorKind::unavailable,
            "the peer does not take the response: " + error_.message());
    }

    SocketStream& stream_;
    const ConnectionContext& context_;
    std::string head_;  // goes with the first chunk
    const bool chunked_;
    std::optional<std::uint64_t> left_;
    ErrorCode error_;
    Relay relay_;
};

struct ByteRange {
    std::uint64_t first = 0;
    std::uint64_t count = 0;
};
enum class RangeAnswer { whole, part, unsatisfiable };

bool parse_number(std::string_view text, std::uint64_t& value) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size();
}

// RFC 9110 14.2: one range is honoured; several, or what is malformed, mean the whole file.
RangeAnswer choose_range(std::string_view header, std::uint64_t size, ByteRange& range) {
    range = {0, size};
    if (!header.starts_with("bytes=") || header.find(',') != std::string_view::npos)
        return RangeAnswer::whole;
    header.remove_prefix(6);
    const std::size_t dash = header.find('-');
    if (dash == std::string_view::npos) return RangeAnswer::whole;
    const std::string_view from = header.substr(0, dash);
    const std::string_view to = header.substr(dash + 1);
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    if (from.empty()) {
        std::uint64_t suffix = 0;
        if (!parse_number(to, suffix)) return RangeAnswer::whole;
        if (suffix == 0 || size == 0) return RangeAnswer::unsatisfiable;
        range = {size - std::min(suffix, size), std::min(suffix, size)};
        return RangeAnswer::part;
    }
    if (!parse_number(from, first)) return RangeAnswer::whole;
    if (to.empty())
        last = size == 0 ? 0 : size - 1;
    else if (!parse_number(to, last) || last < first)
        return RangeAnswer::whole;
    if (first >= size) return RangeAnswer::unsatisfiable;
    range = {first, std::min(last, size - 1) - first + 1};
    return RangeAnswer::part;
}

bool write_file(SocketStream& stream, const Request& request, const Response& response,
                const ConnectionContext& context, bool keep_alive) {
    FileDescriptor file(
        ::open(response.file_path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    struct stat info {};
    if (!file || ::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
        const bool refused = !file && errno != ENOENT && errno != ENOTDIR;
        if (refused)
            log::warn("cannot open {}: {}", response.file_path,
                      system_failure("open").value().message);
        return write_response(
            stream, request,
            refused ? problem(403, "denied", "Not readable", "this file cannot be read")
                    : problem(404, "no-such-file", "Not found", "there is no such file"),
            context, 11, keep_alive);
    }
    const auto size = static_cast<std::uint64_t>(info.st_size);
    const std::string modified = http_date(info.st_mtime);
    ByteRange range{0, size};
    RangeAnswer answer = RangeAnswer::whole;
    int status = response.status;
    if (status == 200) {
        if (request.header("if-modified-since") == modified) {
            status = 304;
        } else if (const std::string if_range = request.header("if-range");
                   if_range.empty() || if_range == modified) {
            answer = choose_range(request.header("range"), size, range);
            if (answer == RangeAnswer::part) status = 206;
            if (answer == RangeAnswer::unsatisfiable) status = 416;
        }
    }
    std::string head = make_head(response, status, context, keep_alive);
    add_header(head, "Last-Modified", modified);
    add_header(head, "Accept-Ranges", "bytes");
    if (status == 206)
        add_header(head, "Content-Range",
                   fmt::format("bytes {}-{}/{}", range.first, range.first + range.count - 1, size));
    if (status == 416) {
        add_header(head, "Content-Range", fmt::format("bytes */{}", size));
        range.count = 0;
    }
    if (status != 304) add_header(head, "Content-Length", std::to_string(range.count));
    head += "\r\n";
    ErrorCode error;
    stream.write_all(head, "", "", error);
    if (!error && request.method != "HEAD" && status != 304 && status != 416)
        stream.send_file(file.get(), range.first, range.count, error);
    return !error && keep_alive;
}

}  // namespace

bool write_response(SocketStream& stream, const Request& request, const Response& response,
                    const ConnectionContext& context, unsigned http_version, bool keep_alive) {
    if (!response.file_path.empty())
        return write_file(stream, request, response, context, keep_alive);
    if (response.stream) {
        // HTTP/1.0 knows no chunks: the end of the connection is the end of the body.
        const auto& length = response.stream_bytes;
        const bool chunked = !length && http_version >= 11;
        keep_alive = keep_alive && (chunked || length);
        std::string head = make_head(response, response.status, context, keep_alive);
        if (length) add_header(head, "Content-Length", std::to_string(*length));
        if (chunked) add_header(head, "Transfer-Encoding", "chunked");
        head += "\r\n";
        StreamWriter writer(stream, context, std::move(head), chunked, length);
        if (request.method == "HEAD") return writer.write("") && keep_alive;
        try {
            response.stream(writer);
        } catch (const std::exception& exception) {
            // The status is sent already: only an unfinished body tells the peer.
            log::error("stream of {} {} failed: {}", request.method, request.path,
                       exception.what());
            return false;
        }
        return writer.finish() && keep_alive;
    }
    std::string head = make_head(response, response.status, context, keep_alive);
    const bool no_body = has_no_body(response.status);
    if (!no_body) add_header(head, "Content-Length", std::to_string(response.body.size()));
    head += "\r\n";
    ErrorCode error;
    stream.write_all(head, no_body || request.method == "HEAD" ? std::string_view() : response.body,
                     "", error);
    return !error && keep_alive;
}

}  // namespace goldlink::http
