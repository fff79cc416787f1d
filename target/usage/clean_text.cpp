#include <array>
#include <cstdint>

#include "target/usage/disk_use.hpp"

namespace goldlink::usage {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD
constexpr std::string_view kEllipsis = "\xe2\x80\xa6";     // U+2026

struct Character {
    std::size_t bytes = 1;
    bool shown = false;  // as it is
};

// Control characters, and what could make a line show other than it reads (UAX #9, UTS #36).
bool is_unwanted(std::uint32_t point) {
    struct Range {
        std::uint32_t first, last;
    };
    constexpr std::array kUnwanted = {
        Range{0x00, 0x1f},     Range{0x7f, 0x9f},     Range{0x61c, 0x61c},
        Range{0x200b, 0x200f}, Range{0x2028, 0x202e}, Range{0x2060, 0x206f},
        Range{0xfdd0, 0xfdef}, Range{0xfeff, 0xfeff}, Range{0xfff9, 0xfffb}};
    for (const Range& range : kUnwanted)
        if (point >= range.first && point <= range.last) return true;
    return (point & 0xfffe) == 0xfffe;
}

// RFC 3629: no overlong forms, no surrogates, at most U+10FFFF.
Character character_at(std::string_view text) {
    const auto byte = [&](std::size_t at) { return static_cast<std::uint8_t>(text[at]); };
    const std::uint8_t lead = byte(0);
    if (lead < 0x80) return {1, !is_unwanted(lead)};
    std::size_t count = 0;
    std::uint32_t least = 0, point = 0;
    if ((lead & 0xe0) == 0xc0)
        count = 2, least = 0x80, point = lead & 0x1fu;
    else if ((lead & 0xf0) == 0xe0)
        count = 3, least = 0x800, point = lead & 0x0fu;
    else if ((lead & 0xf8) == 0xf0)
        count = 4, least = 0x10000, point = lead & 0x07u;
    if (count == 0 || text.size() < count) return {};
    for (std::size_t i = 1; i < count; ++i) {
        if ((byte(i) & 0xc0) != 0x80) return {};
        point = point << 6 | (byte(i) & 0x3fu);
    }
    if (point < least || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) return {};
    return {count, !is_unwanted(point)};
}

}  // namespace

std::string clean_text(std::string_view text, std::size_t max_bytes) {
    // The end says most of a path. A piece of a character at the new beginning is replaced.
    const std::size_t most = max_bytes * 2;
    bool cut = text.size() > most;
    if (cut) text.remove_prefix(text.size() - most);
    std::string clean;
    for (std::size_t at = 0; at < text.size();) {
        const Character next = character_at(text.substr(at));
        clean += next.shown ? text.substr(at, next.bytes) : kReplacement;
        at += next.bytes;
    }
    cut = cut || clean.size() > max_bytes;
    if (!cut) return clean;
    std::size_t from = clean.size() - std::min(clean.size(), max_bytes - kEllipsis.size());
    while (from < clean.size() && (static_cast<std::uint8_t>(clean[from]) & 0xc0) == 0x80) ++from;
    return std::string(kEllipsis) + clean.substr(from);
}

}  // namespace goldlink::usage
