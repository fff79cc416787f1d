// Text segments of login and text PDUs: key=value pairs, each ended by a zero byte (RFC 7143 6.1).
// Pure, bounded: key names have at most 63 characters, values at most kMaxValueBytes, a sequence
// at most kMaxKeys pairs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/bytes.hpp"

namespace goldlink::iscsi {

inline constexpr std::size_t kMaxKeyBytes = 63;
inline constexpr std::size_t kMaxValueBytes = 8192;
inline constexpr std::size_t kMaxKeys = 64;

struct KeyValue {
    std::string_view key;
    std::string_view value;
};

// The pairs of one whole text sequence, in order, viewing `text`. nullopt: malformed (no '=', empty
// or illegal key name, too long, too many pairs, bytes after the last zero byte).
std::optional<std::vector<KeyValue>> parse_text(std::string_view text);

// Appends "key=value\0".
void append_pair(std::string& text, std::string_view key, std::string_view value);

// Numerical values (6.1): decimal, or hexadecimal after 0x; at most 64 bits.
std::optional<std::uint64_t> parse_number(std::string_view text);

// Binary values (6.1): hexadecimal after 0x, base64 after 0b. Bounded by max_bytes.
std::optional<std::vector<std::uint8_t>> parse_binary(std::string_view text, std::size_t max_bytes);
std::string format_binary(Bytes bytes);  // 0x...

// iSCSI names compare after case folding (4.2.7.1, stringprep); ASCII letters only here.
std::string fold_name(std::string_view name);

}  // namespace goldlink::iscsi
