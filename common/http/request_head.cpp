#include "common/http/request_head.hpp"

#include <algorithm>

namespace goldlink::http {
namespace {

bool is_alphanumeric(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_digit(char c) { return c >= '0' && c <= '9'; }

// RFC 9110 5.6.2
bool is_token_character(char c) {
    return is_alphanumeric(c) ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}
// RFC 9110 5.5
bool is_value_character(char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
}

bool equal_folded(std::string_view a, std::string_view lower) {
    return std::equal(a.begin(), a.end(), lower.begin(), lower.end(), [](char x, char y) {
        return (x >= 'A' && x <= 'Z' ? static_cast<char>(x - 'A' + 'a') : x) == y;
    });
}

std::string_view trimmed(std::string_view text) {
    const auto blank = [](char c) { return c == ' ' || c == '\t'; };
    while (!text.empty() && blank(text.front())) text.remove_prefix(1);
    while (!text.empty() && blank(text.back())) text.remove_suffix(1);
    return text;
}

// What decides where the request's body ends and whom it is for.
struct Framing {
    unsigned hosts = 0, lengths = 0, codings = 0;
};

std::string field_fault(std::string_view line, Framing& framing) {
    if (line.front() == ' ' || line.front() == '\t')
        return "a header field goes on in a second line";  // 5.2
    const std::size_t colon = line.find(':');
    const std::string_view name = line.substr(0, colon);
    if (colon == std::string_view::npos || name.empty() ||
        !std::all_of(name.begin(), name.end(), is_token_character))
        return "a header line is no field with a name and a colon right after it";  // 5.1
    const std::string_view value = trimmed(line.substr(colon + 1));
    if (!std::all_of(value.begin(), value.end(), is_value_character))
        return "a header field has control characters";
    if (equal_folded(name, "host")) {
        ++framing.hosts;
        if (!value.empty() && !is_authority(value)) return "Host is no host with an optional port";
    } else if (equal_folded(name, "content-length")) {
        constexpr std::size_t kMaxDigits = 18;
        ++framing.lengths;
        if (value.empty() || value.size() > kMaxDigits ||
            !std::all_of(value.begin(), value.end(), is_digit))
            return "Content-Length is no number";
    } else if (equal_folded(name, "transfer-encoding")) {
        ++framing.codings;
        if (!equal_folded(value, "chunked")) return "Transfer-Encoding is not just 'chunked'";
    }
    return "";
}

std::string framing_fault(const Framing& framing, bool is_http_1_0) {
    if (framing.hosts > 1) return "there is more than one Host";
    if (framing.hosts == 0 && !is_http_1_0) return "there is no Host";
    if (framing.lengths > 1) return "there is more than one Content-Length";
    if (framing.codings > 1) return "there is more than one Transfer-Encoding";
    if (framing.codings > 0 && framing.lengths > 0)
        return "there are both Transfer-Encoding and Content-Length";
    if (framing.codings > 0 && is_http_1_0) return "HTTP/1.0 has no Transfer-Encoding";
    return "";
}

}  // namespace

bool is_authority(std::string_view text) {
    const bool bracketed = text.starts_with('[');
    const std::size_t end = bracketed ? text.find(']') : std::min(text.find(':'), text.size());
    if (end == std::string_view::npos || end == (bracketed ? 1u : 0u)) return false;
    const std::string_view host = text.substr(bracketed ? 1 : 0, bracketed ? end - 1 : end);
    std::string_view port = text.substr(bracketed ? end + 1 : end);
    // RFC 3986 3.2.2: reg-name or IPv4address; IPv6address and the like in brackets.
    constexpr std::string_view kOfNames = "-._~!$&'()*+,;=%", kInBrackets = ":.%-_~";
    const std::string_view others = bracketed ? kInBrackets : kOfNames;
    if (!std::all_of(host.begin(), host.end(), [&](char c) {
            return is_alphanumeric(c) || others.find(c) != std::string_view::npos;
        }))
        return false;
    if (port.empty()) return true;
    if (port.front() != ':') return false;
    port.remove_prefix(1);
    return port.size() <= 5 && std::all_of(port.begin(), port.end(), is_digit);
}

// RFC 9112 2.2: no line ends but by CRLF, and no CR is elsewhere.
HeadEnd::Found HeadEnd::look(std::string_view bytes) {
    for (; at_ < bytes.size(); ++at_) {
        const char c = bytes[at_];
        if (c == '\0') fault_ = "it has a zero byte in its header";
        if (c == '\r' && at_ + 1 == bytes.size()) break;
        if (c == '\r' && bytes[at_ + 1] != '\n') fault_ = "it has a CR without LF in its header";
        if (c == '\n' && (at_ == 0 || bytes[at_ - 1] != '\r'))
            fault_ = "it has a line in its header that ends without CR";
        if (at_ == 0 && !is_token_character(c)) fault_ = "it does not begin with a method";
        if (!fault_.empty()) return Found::fault;
        if (c == '\n' && at_ >= 3 && bytes.substr(at_ - 3, 4) == "\r\n\r\n") {
            ++at_;
            return Found::end;
        }
    }
    return Found::more;
}

std::string head_fault(std::string_view head) {
    const std::size_t line_end = head.find("\r\n");
    if (line_end == std::string_view::npos) return "it has no request line";
    const bool is_http_1_0 = head.substr(0, line_end).ends_with(" HTTP/1.0");
    Framing framing;
    std::string_view rest = head.substr(line_end + 2);
    while (!rest.empty()) {
        const std::size_t end = std::min(rest.find("\r\n"), rest.size());
        const std::string_view line = rest.substr(0, end);
        rest.remove_prefix(std::min(end + 2, rest.size()));
        if (line.empty()) break;
        if (std::string fault = field_fault(line, framing); !fault.empty()) return fault;
    }
    return framing_fault(framing, is_http_1_0);
}

}  // namespace goldlink::http
