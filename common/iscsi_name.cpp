#include "common/iscsi_name.hpp"

#include <algorithm>
#include <array>
#include <cstdint>

#include "common/clean_text.hpp"

namespace goldlink {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return lower(c) >= 'a' && lower(c) <= 'z'; }
bool is_hex(char c) { return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'f'); }

bool is_name_ascii(char c) {
    return is_letter(c) || is_digit(c) ||
           std::string_view("-.:_+").find(c) != std::string_view::npos;
}

// Beyond ASCII, what RFC 3722 prohibits (5, 6: tables C.1.2 to C.9 of RFC 3454, and U+3002) or maps
// to nothing (B.1).
bool is_prohibited(std::uint32_t point) {
    struct Range {
        std::uint32_t first, last;
    };
    constexpr std::array kProhibited = {
        Range{0x80, 0xa0},       Range{0xad, 0xad},       Range{0x340, 0x341},
        Range{0x34f, 0x34f},     Range{0x6dd, 0x6dd},     Range{0x70f, 0x70f},
        Range{0x1680, 0x1680},   Range{0x1806, 0x1806},   Range{0x180b, 0x180e},
        Range{0x2000, 0x200f},   Range{0x2028, 0x202f},   Range{0x205f, 0x206f},
        Range{0x2ff0, 0x2ffb},   Range{0x3000, 0x3000},   Range{0x3002, 0x3002},
        Range{0xe000, 0xf8ff},   Range{0xfdd0, 0xfdef},   Range{0xfe00, 0xfe0f},
        Range{0xfeff, 0xfeff},   Range{0xfff9, 0xfffd},   Range{0x1d173, 0x1d17a},
        Range{0xe0001, 0xe007f}, Range{0xf0000, 0x10ffff}};
    return (point & 0xfffe) == 0xfffe ||
           std::any_of(kProhibited.begin(), kProhibited.end(), [point](const Range& range) {
               return point >= range.first && point <= range.last;
           });
}

bool is_hex_of_length(std::string_view digits, std::size_t one, std::size_t other) {
    return (digits.size() == one || digits.size() == other) &&
           std::all_of(digits.begin(), digits.end(), is_hex);
}

}  // namespace

std::string_view iscsi_name_fault(std::string_view name) {
    if (name.size() > kMaxIscsiNameBytes) return "it is longer than 223 bytes";
    if (!is_utf8(name)) return "it is not UTF-8";
    std::array<char, 4> type{};
    std::transform(
        name.begin(),
        name.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(name.size(), type.size())),
        type.begin(), lower);
    const std::string_view form(type.data(), type.size());
    if (form != "iqn." && form != "eui." && form != "naa.")
        return "it does not begin with iqn., eui. or naa.";
    const std::string_view rest = name.substr(type.size());
    if (form == "eui.")  // 4.2.7.5
        return is_hex_of_length(rest, 16, 16) ? "" : "eui. is followed by 16 hex digits";
    if (form == "naa.")  // 4.2.7.6
        return is_hex_of_length(rest, 16, 32) ? "" : "naa. is followed by 16 or 32 hex digits";
    if (rest.empty()) return "nothing follows its iqn.";
    for (std::size_t at = 0; at < rest.size();) {
        const Utf8Character next = utf8_character(rest.substr(at));
        const bool allowed = next.bytes == 1 ? is_name_ascii(rest[at]) : !is_prohibited(next.point);
        if (!allowed)
            return "it has characters other than letters, digits, '-', '.', ':', '_' and '+'";
        at += next.bytes;
    }
    return "";
}

bool is_initiator_port(std::string_view text) {
    constexpr std::string_view kSeparator = ",i,0x";
    constexpr std::size_t kMaxIsidDigits = 12;
    const std::size_t at = text.find(kSeparator);
    if (at == std::string_view::npos || !is_iscsi_name(text.substr(0, at))) return false;
    const std::string_view isid = text.substr(at + kSeparator.size());
    return !isid.empty() && isid.size() <= kMaxIsidDigits &&
           std::all_of(isid.begin(), isid.end(), is_hex);
}

}  // namespace goldlink
