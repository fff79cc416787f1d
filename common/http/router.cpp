#include "common/http/router.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "common/check.hpp"
#include "common/http/client.hpp"
#include "common/http/request_head.hpp"

namespace goldlink::http {
namespace {

constexpr std::size_t kMaxSegments = 32;
constexpr std::size_t kMaxQueryKeys = 64;

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

std::vector<std::string> split(std::string_view text, char separator) {
    std::vector<std::string> parts;
    for (;;) {
        const std::size_t at = text.find(separator);
        parts.emplace_back(text.substr(0, at));
        if (at == std::string_view::npos) return parts;
        text.remove_prefix(at + 1);
    }
}

bool is_rest(std::string_view segment) {
    return segment.starts_with("{") && segment.ends_with("...}");
}
bool is_name(std::string_view segment) { return segment.starts_with("{") && !is_rest(segment); }

Result<> parse_query(std::string_view text, std::map<std::string, std::string>& query) {
    if (text.empty()) return {};
    for (const std::string& pair : split(text, '&')) {
        if (pair.empty()) continue;
        const std::size_t equals = pair.find('=');
        GOLDLINK_TRY_ASSIGN(std::string key, percent_decode(pair.substr(0, equals), true));
        std::string value;
        if (equals != std::string::npos) {
            GOLDLINK_TRY_ASSIGN(value,
                                percent_decode(std::string_view(pair).substr(equals + 1), true));
        }
        query[std::move(key)] = std::move(value);
        if (query.size() > kMaxQueryKeys)
            return failure(ErrorKind::invalid,
                           fmt::format("the query has more than {} keys", kMaxQueryKeys));
    }
    return {};
}

}  // namespace

Result<std::string> percent_decode(std::string_view text, bool plus_is_space) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        char c = text[i];
        if (c == '+' && plus_is_space) {
            c = ' ';
        } else if (c == '%') {
            const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
            const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
            if (high < 0 || low < 0)
                return failure(ErrorKind::invalid, "the URL has a '%' without two hex digits");
            c = static_cast<char>(high << 4 | low);
            i += 2;
        }
        if (c == '\0') return failure(ErrorKind::invalid, "the URL has a zero byte");
        out.push_back(c);
    }
    return out;
}

std::string percent_encode(std::string_view text) {
    constexpr std::string_view kUnreserved =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";  // RFC 3986 2.3
    std::string out;
    for (const char c : text) {
        if (kUnreserved.find(c) != std::string_view::npos)
            out.push_back(c);
        else
            out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
    return out;
}

namespace {

// How many bytes "http://" or "https://" has at the beginning of `text`; 0: there is none.
std::size_t scheme_bytes(std::string_view text) {
    for (const std::string_view scheme : {"http://", "https://"})
        if (text.size() > scheme.size() &&
            std::equal(scheme.begin(), scheme.end(), text.begin(), [](char want, char c) {
                return want == (c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
            }))
            return scheme.size();
    return 0;
}

Result<Target> parse_origin_form(std::string_view text, Target target) {
    const std::size_t question = text.find('?');
    std::string_view path = text.substr(0, question);
    if (question != std::string_view::npos)
        GOLDLINK_TRY(parse_query(text.substr(question + 1), target.query));
    path.remove_prefix(1);
    for (const std::string& raw : split(path, '/')) {
        GOLDLINK_TRY_ASSIGN(std::string segment, percent_decode(raw, false));
        if (segment == "." || segment == "..")
            return failure(ErrorKind::invalid, "the path has a '.' or '..' segment");
        target.path += '/';
        target.path += segment;
        target.segments.push_back(std::move(segment));
        if (target.segments.size() > kMaxSegments)
            return failure(ErrorKind::invalid,
                           fmt::format("the path has more than {} segments", kMaxSegments));
    }
    return target;
}

}  // namespace

Result<Target> Target::parse(std::string_view text) {
    Target target;
    if (text.starts_with("/")) return parse_origin_form(text, std::move(target));
    // RFC 9112 3.2.2: as proxies are asked, and some firmware asks everybody.
    const std::size_t scheme = scheme_bytes(text);
    if (scheme == 0)
        return failure(ErrorKind::invalid,
                       "the request target must be a path that starts with '/', or an http URL");
    text.remove_prefix(scheme);
    const std::size_t end = std::min(text.find_first_of("/?#"), text.size());
    target.authority = text.substr(0, end);
    if (!is_authority(target.authority))  // RFC 9110 4.2.1, 4.2.4: a host, and no user
        return failure(ErrorKind::invalid, "the request target's URL has no valid host");
    text.remove_prefix(end);
    if (text.starts_with("/")) return parse_origin_form(text, std::move(target));
    return parse_origin_form("/" + std::string(text), std::move(target));
}

Router::Router(std::vector<Route> routes) {
    for (Route& route : routes) {
        CHECK(route.pattern.starts_with("/"), "a route pattern starts with '/'");
        Entry entry{std::move(route), {}, {}};
        entry.segments = split(std::string_view(entry.route.pattern).substr(1), '/');
        for (const std::string& segment : entry.segments)
            entry.rank.push_back(is_rest(segment) ? '2' : is_name(segment) ? '1' : '0');
        entries_.push_back(std::move(entry));
    }
    std::stable_sort(entries_.begin(), entries_.end(),
                     [](const Entry& a, const Entry& b) { return a.rank < b.rank; });
}

namespace {

bool match(const std::vector<std::string>& pattern, const std::vector<std::string>& segments,
           std::map<std::string, std::string>& params) {
    params.clear();
    for (std::size_t i = 0; i < pattern.size(); ++i) {
        const std::string& want = pattern[i];
        if (is_rest(want)) {
            if (i >= segments.size()) return false;
            std::string rest;
            for (std::size_t j = i; j < segments.size(); ++j) {
                // An escaped slash would let ".." in between two real ones.
                if (segments[j].find('/') != std::string::npos) return false;
                if (j > i) rest += '/';
                rest += segments[j];
            }
            params[want.substr(1, want.size() - 5)] = std::move(rest);
            return true;
        }
        if (i >= segments.size()) return false;
        if (is_name(want)) {
            if (segments[i].empty()) return false;
            params[want.substr(1, want.size() - 2)] = segments[i];
        } else if (want != segments[i]) {
            return false;
        }
    }
    return pattern.size() == segments.size();
}

}  // namespace

Router::Match Router::find(std::string_view method, const Target& target) const {
    Match found;
    std::map<std::string, std::string> params;
    for (const Entry& entry : entries_) {
        if (!match(entry.segments, target.segments, params)) continue;
        if (entry.route.method == method || (method == "HEAD" && entry.route.method == "GET")) {
            found.route = &entry.route;
            found.params = std::move(params);
            return found;
        }
        if (std::find(found.allowed.begin(), found.allowed.end(), entry.route.method) ==
            found.allowed.end())
            found.allowed.push_back(entry.route.method);
    }
    return found;
}

}  // namespace goldlink::http
