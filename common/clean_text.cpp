#include "common/clean_text.hpp"

#include <algorithm>
#include <array>

namespace goldlink {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD
constexpr std::string_view kEllipsis = "\xe2\x80\xa6";     // U+2026

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

bool is_plain_ascii(char c) { return c >= 0x20 && c < 0x7f; }

bool is_shown(Utf8Character character) { return character.valid && !is_unwanted(character.point); }

bool continues(char c) { return (static_cast<std::uint8_t>(c) & 0xc0) == 0x80; }

template <typename Accept>
std::string replaced(std::string_view text, Accept accept) {
    std::string result;
    result.reserve(text.size());
    for (std::size_t at = 0; at < text.size();) {
        const Utf8Character next = utf8_character(text.substr(at));
        result += accept(next) ? text.substr(at, next.bytes) : kReplacement;
        at += next.bytes;
    }
    return result;
}

template <typename Accept>
bool all_of(std::string_view text, Accept accept) {
    for (std::size_t at = 0; at < text.size();) {
        if (is_plain_ascii(text[at])) {
            ++at;
            continue;
        }
        const Utf8Character next = utf8_character(text.substr(at));
        if (!accept(next)) return false;
        at += next.bytes;
    }
    return true;
}

}  // namespace

Utf8Character utf8_character(std::string_view text) {
    const auto byte = [&](std::size_t at) { return static_cast<std::uint8_t>(text[at]); };
    const std::uint8_t lead = byte(0);
    if (lead < 0x80) return {1, lead, true};
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
        if (!continues(text[i])) return {};
        point = point << 6 | (byte(i) & 0x3fu);
    }
    if (point < least || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) return {};
    return {count, point, true};
}

bool is_utf8(std::string_view text) {
    return all_of(text, [](Utf8Character c) { return c.valid; });
}

std::string as_utf8(std::string text) {
    if (is_utf8(text)) return text;
    return replaced(text, [](Utf8Character c) { return c.valid; });
}

bool is_clean(std::string_view text) { return all_of(text, is_shown); }

std::string clean_text(std::string_view text, std::size_t max_bytes, Keep keep) {
    // A piece of a character at the cut is replaced.
    const std::size_t most = max_bytes * 2;
    bool cut = text.size() > most;
    if (cut) text = keep == Keep::end ? text.substr(text.size() - most) : text.substr(0, most);
    std::string clean = replaced(text, is_shown);
    cut = cut || clean.size() > max_bytes;
    if (!cut) return clean;
    const std::size_t room = std::min(clean.size(), max_bytes - kEllipsis.size());
    if (keep == Keep::end) {
        std::size_t from = clean.size() - room;
        while (from < clean.size() && continues(clean[from])) ++from;
        return std::string(kEllipsis) + clean.substr(from);
    }
    std::size_t end = room;
    while (end > 0 && end < clean.size() && continues(clean[end])) --end;
    return clean.substr(0, end) + std::string(kEllipsis);
}

}  // namespace goldlink
