#include "target/iscsi/text.hpp"

#include <algorithm>
#include <charconv>

namespace goldlink::iscsi {

namespace {

// RFC 7143 6.1: <text-label> or, for X- and X# extensions, the same with that prefix.
bool is_key_character(char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '+' || c == '@' || c == '_' || c == '#';
}

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

int base64_digit(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == '+') return 62;
    if (c == '/') return 63;
    return -1;
}

std::optional<std::vector<std::uint8_t>> parse_hex(std::string_view digits, std::size_t max_bytes) {
    if (digits.empty() || (digits.size() + 1) / 2 > max_bytes) return std::nullopt;
    std::vector<std::uint8_t> bytes;
    bytes.reserve((digits.size() + 1) / 2);
    // An odd count of digits has a leading half byte (6.1: leading zeroes may be left out).
    int high = digits.size() % 2 == 0 ? -1 : 0;
    for (const char c : digits) {
        const int digit = hex_digit(c);
        if (digit < 0) return std::nullopt;
        if (high < 0) {
            high = digit;
        } else {
            bytes.push_back(static_cast<std::uint8_t>(high * 16 + digit));
            high = -1;
        }
    }
    return bytes;
}

std::optional<std::vector<std::uint8_t>> parse_base64(std::string_view digits,
                                                      std::size_t max_bytes) {
    if (digits.empty() || digits.size() % 4 != 0 || digits.size() / 4 * 3 > max_bytes + 2)
        return std::nullopt;
    std::size_t fill = 0;
    while (fill < 2 && digits.back() == '=') {
        digits.remove_suffix(1);
        ++fill;
    }
    std::vector<std::uint8_t> bytes;
    std::uint32_t bits = 0;
    unsigned count = 0;
    for (const char c : digits) {
        const int digit = base64_digit(c);
        if (digit < 0) return std::nullopt;
        bits = (bits << 6) | static_cast<std::uint32_t>(digit);
        count += 6;
        if (count >= 8) {
            count -= 8;
            bytes.push_back(static_cast<std::uint8_t>(bits >> count));
        }
    }
    if (bytes.size() > max_bytes) return std::nullopt;
    return bytes;
}

}  // namespace

std::optional<std::vector<KeyValue>> parse_text(std::string_view text) {
    std::vector<KeyValue> pairs;
    while (!text.empty()) {
        const std::size_t end = text.find('\0');
        if (end == std::string_view::npos) return std::nullopt;
        const std::string_view pair = text.substr(0, end);
        text.remove_prefix(end + 1);
        if (pair.empty()) continue;  // some initiators count the padding into the segment
        const std::size_t equals = pair.find('=');
        if (equals == std::string_view::npos || equals == 0 || equals > kMaxKeyBytes)
            return std::nullopt;
        const KeyValue kv{pair.substr(0, equals), pair.substr(equals + 1)};
        if (kv.value.size() > kMaxValueBytes) return std::nullopt;
        if (!std::all_of(kv.key.begin(), kv.key.end(), is_key_character)) return std::nullopt;
        if (pairs.size() == kMaxKeys) return std::nullopt;
        pairs.push_back(kv);
    }
    return pairs;
}

void append_pair(std::string& text, std::string_view key, std::string_view value) {
    text.append(key);
    text.push_back('=');
    text.append(value);
    text.push_back('\0');
}

std::optional<std::uint64_t> parse_number(std::string_view text) {
    int base = 10;
    if (text.size() > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
        base = 16;
        text.remove_prefix(2);
    }
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

std::optional<std::vector<std::uint8_t>> parse_binary(std::string_view text,
                                                      std::size_t max_bytes) {
    if (text.size() < 3 || text[0] != '0') return std::nullopt;
    const std::string_view digits = text.substr(2);
    if (text[1] == 'x' || text[1] == 'X') return parse_hex(digits, max_bytes);
    if (text[1] == 'b' || text[1] == 'B') return parse_base64(digits, max_bytes);
    return std::nullopt;
}

std::string format_binary(Bytes bytes) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string text = "0x";
    for (const std::uint8_t byte : bytes) {
        text.push_back(kDigits[byte >> 4]);
        text.push_back(kDigits[byte & 15]);
    }
    return text;
}

std::string fold_name(std::string_view name) {
    std::string folded(name);
    for (char& c : folded)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    return folded;
}

}  // namespace goldlink::iscsi
