// How the CLI shows things to people: tables, sizes, durations, times. Pure; threads: any.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.hpp"

namespace goldlink::cli {

// Columns as wide as their widest cell, two spaces apart, the last one ragged. An empty cell
// shows as "-". Each row has as many cells as the header.
class Table {
  public:
    explicit Table(std::vector<std::string> header);
    void add(std::vector<std::string> row);
    bool empty() const { return rows_.size() == 1; }
    std::string to_string() const;

  private:
    std::vector<std::vector<std::string>> rows_;
};

// Width on a terminal: code points of UTF-8, which is right for all but combining and wide ones.
std::size_t display_width(std::string_view text);
// Text from a server or a file, as clean_text makes it, whole: it must not drive the terminal.
std::string printable(std::string_view text);

std::string format_bytes(std::uint64_t bytes);                   // "0 B", "4.0 KiB", "12.3 GiB"
std::string format_duration(std::chrono::milliseconds elapsed);  // "0.35 s", "1:05", "2:03:10"
std::string format_age(std::chrono::seconds age);                // "12 s", "3 min", "5 h", "2 d"

// RFC 3339 in UTC as the API writes it, for example "2026-11-21T09:06:17.123Z".
std::optional<std::chrono::system_clock::time_point> parse_time(std::string_view text);
// The same for people, in local time: "2026-11-21 09:06:17". What is no time is returned as it is.
std::string format_time(std::string_view rfc3339);

// An image as the command line names it: NAME, NAME:channel or NAME@version.
struct ImageRef {
    std::string name;
    std::string channel;  // "" when none was given
    std::optional<std::int64_t> version;
};
Result<ImageRef> parse_image_ref(std::string_view text);

// "30m", "2h", "1d", "45s": one number and a unit, 10 seconds to 30 days.
Result<std::chrono::seconds> parse_lease(std::string_view text);

}  // namespace goldlink::cli
