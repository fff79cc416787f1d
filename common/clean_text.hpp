// Text that somebody else made (a peer's names, a disk's paths, an old file), made safe for JSON,
// files of ours, logs and terminals. Pure; threads: any.
//
// What is refused at the door needs none of it; what is only shown goes through here.
// json::serialize and the log do so by themselves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace goldlink {

// The character that `text`, which is not empty, begins with.
struct Utf8Character {
    std::size_t bytes = 1;  // 1 where it is none
    std::uint32_t point = 0;
    bool valid = false;  // RFC 3629: no overlong form, no surrogate, at most U+10FFFF
};
Utf8Character utf8_character(std::string_view text);

bool is_utf8(std::string_view text);
// Each byte that belongs to no character becomes U+FFFD, all else stays.
std::string as_utf8(std::string text);

enum class Keep : std::uint8_t { beginning, end };

// At most max_bytes (3 or more) of valid UTF-8: what is none, control characters and those that
// turn the direction of text become U+FFFD. Of a longer one "…" stands for what is not kept.
std::string clean_text(std::string_view text, std::size_t max_bytes, Keep keep = Keep::beginning);
// Whether clean_text would leave it as it is, but for its length.
bool is_clean(std::string_view text);

}  // namespace goldlink
