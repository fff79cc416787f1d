#include "manager/cli/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <ctime>

#include "common/check.hpp"
#include "common/clean_text.hpp"

namespace goldlink::cli {

namespace {

constexpr std::size_t kMaxNameLength = 63;

std::optional<int> digits(std::string_view text, std::size_t at, std::size_t count) {
    if (at + count > text.size()) return std::nullopt;
    int value = 0;
    const auto [end, error] = std::from_chars(text.data() + at, text.data() + at + count, value);
    if (error != std::errc() || end != text.data() + at + count || value < 0) return std::nullopt;
    return value;
}

bool is_alphanumeric(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool is_name(std::string_view text) {
    return !text.empty() && text.size() <= kMaxNameLength && is_alphanumeric(text.front()) &&
           std::ranges::all_of(
               text, [](char c) { return is_alphanumeric(c) || c == '-' || c == '_' || c == '.'; });
}

}  // namespace

Table::Table(std::vector<std::string> header) { rows_.push_back(std::move(header)); }

void Table::add(std::vector<std::string> row) {
    CHECK(row.size() == rows_.front().size(), "a table row has as many cells as the header");
    for (auto& cell : row) cell = cell.empty() ? "-" : printable(cell);
    rows_.push_back(std::move(row));
}

std::string Table::to_string() const {
    std::vector<std::size_t> widths(rows_.front().size());
    for (const auto& row : rows_)
        for (std::size_t i = 0; i < row.size(); ++i)
            widths[i] = std::max(widths[i], display_width(row[i]));
    std::string out;
    for (const auto& row : rows_) {
        for (std::size_t i = 0; i < row.size(); ++i) {
            out += row[i];
            if (i + 1 < row.size()) out.append(widths[i] - display_width(row[i]) + 2, ' ');
        }
        out += '\n';
    }
    return out;
}

std::size_t display_width(std::string_view text) {
    return static_cast<std::size_t>(std::ranges::count_if(
        text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

std::string printable(std::string_view text) {
    return clean_text(text, std::max<std::size_t>(text.size() * 3, 16));
}

std::string format_bytes(std::uint64_t bytes) {
    if (bytes < 1024) return fmt::format("{} B", bytes);
    constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = static_cast<double>(bytes) / 1024;
    std::size_t unit = 0;
    // 1023.95 would round up to "1024.0".
    while (value >= 1023.95 && unit + 1 < std::size(kUnits)) {
        value /= 1024;
        ++unit;
    }
    return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string format_duration(std::chrono::milliseconds elapsed) {
    const auto ms = elapsed.count();
    if (ms < 0) return "-";
    if (ms < 10'000) return fmt::format("{:.2f} s", static_cast<double>(ms) / 1000);
    if (ms < 60'000) return fmt::format("{:.1f} s", static_cast<double>(ms) / 1000);
    const auto seconds = ms / 1000;
    if (seconds < 3600) return fmt::format("{}:{:02}", seconds / 60, seconds % 60);
    return fmt::format("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
}

std::string format_age(std::chrono::seconds age) {
    const auto seconds = std::max<std::int64_t>(age.count(), 0);
    if (seconds < 60) return fmt::format("{} s", seconds);
    if (seconds < 3600) return fmt::format("{} min", seconds / 60);
    if (seconds < 86400) return fmt::format("{} h", seconds / 3600);
    return fmt::format("{} d", seconds / 86400);
}

std::optional<std::chrono::system_clock::time_point> parse_time(std::string_view text) {
    using namespace std::chrono;
    if (text.size() < 20 || text[4] != '-' || text[7] != '-' ||
        (text[10] != 'T' && text[10] != ' ') || text[13] != ':' || text[16] != ':')
        return std::nullopt;
    const auto y = digits(text, 0, 4), mo = digits(text, 5, 2), d = digits(text, 8, 2);
    const auto h = digits(text, 11, 2), mi = digits(text, 14, 2), s = digits(text, 17, 2);
    if (!y || !mo || !d || !h || !mi || !s || *h > 23 || *mi > 59 || *s > 60) return std::nullopt;
    const year_month_day date{year(*y), month(static_cast<unsigned>(*mo)),
                              day(static_cast<unsigned>(*d))};
    if (!date.ok()) return std::nullopt;
    auto rest = text.substr(19);
    int fraction_ms = 0;
    if (rest.front() == '.') {
        rest.remove_prefix(1);
        int scale = 100;
        while (!rest.empty() && rest.front() >= '0' && rest.front() <= '9') {
            fraction_ms += (rest.front() - '0') * scale;
            scale /= 10;
            rest.remove_prefix(1);
        }
    }
    if (rest != "Z" && rest != "z" && rest != "+00:00") return std::nullopt;
    return sys_days(date) + hours(*h) + minutes(*mi) + seconds(*s) + milliseconds(fraction_ms);
}

std::string format_time(std::string_view rfc3339) {
    const auto time = parse_time(rfc3339);
    if (!time) return printable(rfc3339);
    const std::time_t seconds = std::chrono::system_clock::to_time_t(*time);
    std::tm local{};
    ::localtime_r(&seconds, &local);
    char buffer[32];
    const std::size_t length = std::strftime(buffer, sizeof buffer, "%Y-%m-%d %H:%M:%S", &local);
    return {buffer, length};
}

Result<ImageRef> parse_image_ref(std::string_view text) {
    const auto bad = [&](std::string_view why) {
        return failure(ErrorKind::invalid,
                       fmt::format("'{}' is no image reference: {}. Write NAME, NAME:channel or "
                                   "NAME@version, for example win11, win11:production or win11@7",
                                   printable(text), why));
    };
    ImageRef ref;
    const auto separator = text.find_first_of("@:");
    ref.name = text.substr(0, separator);
    if (!is_name(ref.name))
        return bad(
            "a name is 1 to 63 letters, digits, dots, dashes or underscores and begins with a "
            "letter or "
            "digit");
    if (separator == std::string_view::npos) return ref;
    const auto rest = text.substr(separator + 1);
    if (text[separator] == ':') {
        if (!is_name(rest)) return bad("after ':' comes the name of a channel");
        ref.channel = rest;
        return ref;
    }
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
    if (error != std::errc() || end != rest.data() + rest.size() || number < 1 ||
        number > 1'000'000'000)
        return bad("after '@' comes the number of a version");
    ref.version = number;
    return ref;
}

Result<std::chrono::seconds> parse_lease(std::string_view text) {
    constexpr std::int64_t kMinSeconds = 10;
    constexpr std::int64_t kMaxSeconds = 30 * 86400;
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
    const std::int64_t factor = unit == "s"   ? 1
                                : unit == "m" ? 60
                                : unit == "h" ? 3600
                                : unit == "d" ? 86400
                                              : 0;
    if (error != std::errc() || factor == 0 || number < 1 || number > kMaxSeconds ||
        number * factor < kMinSeconds || number * factor > kMaxSeconds)
        return failure(ErrorKind::invalid,
                       fmt::format("'{}' is no lease: give a number and s, m, h or d, from 10s to "
                                   "30d, for example 30m",
                                   printable(text)));
    return std::chrono::seconds(number * factor);
}

}  // namespace goldlink::cli
