#include "manager/naming.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

namespace goldlink::manager {
namespace {

constexpr std::string_view kTargetPrefix = "iqn.2026-11.io.goldlink:";
constexpr std::string_view kInitiatorPrefix = "iqn.2026-11.io.goldlink.client:";
constexpr int kMaxNumber = 99'999;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::string lower(std::string_view text) {
    std::string out(text);
    std::transform(out.begin(), out.end(), out.begin(), [](char c) { return lower(c); });
    return out;
}

struct Pattern {
    std::string_view before, after;
    int width = 0;
};

Result<Pattern> parse_pattern(std::string_view pattern) {
    const auto refuse = [&] {
        return failure(
            ErrorKind::invalid,
            fmt::format(
                "\"{}\" is no naming pattern: write a name with one {{n}} or {{n:03}} in it, like "
                "PC-{{n:03}}",
                pattern.substr(0, 80)));
    };
    const std::size_t open = pattern.find('{');
    const std::size_t close = pattern.find('}', open);
    if (pattern.size() > 63 || open == std::string_view::npos || close == std::string_view::npos)
        return refuse();
    Pattern parsed{pattern.substr(0, open), pattern.substr(close + 1), 0};
    const std::string_view number = pattern.substr(open + 1, close - open - 1);
    if (number.size() == 4 && number.starts_with("n:0") && number[3] >= '1' && number[3] <= '9')
        parsed.width = number[3] - '0';
    else if (number != "n")
        return refuse();
    const auto may_stand = [](char c) {
        return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
               c == '_' || c == '-';
    };
    if (!std::all_of(parsed.before.begin(), parsed.before.end(), may_stand) ||
        !std::all_of(parsed.after.begin(), parsed.after.end(), may_stand))
        return refuse();
    if (!parsed.before.empty() && !(may_stand(parsed.before[0]) && parsed.before[0] != '.' &&
                                    parsed.before[0] != '_' && parsed.before[0] != '-'))
        return refuse();
    // The longest name must still be one.
    if (parsed.before.size() + parsed.after.size() +
            static_cast<std::size_t>(std::max(parsed.width, 5)) >
        63)
        return refuse();
    return parsed;
}

std::string normalised(std::string_view prefix, std::string_view name) {
    std::string out(prefix);
    for (const char c : lower(name)) {
        const bool stays = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-';
        out += stays ? c : '-';
    }
    return out;
}

}  // namespace

Result<> check_naming_pattern(std::string_view pattern) {
    GOLDLINK_TRY(parse_pattern(pattern));
    return {};
}

Result<std::string> next_name(std::string_view pattern, const std::vector<std::string>& taken) {
    GOLDLINK_TRY_ASSIGN(const Pattern parsed, parse_pattern(pattern));
    std::unordered_set<std::string> used;
    for (const std::string& name : taken) used.insert(lower(name));
    for (int n = 1; n <= kMaxNumber; ++n) {
        std::string name = fmt::format("{}{:0{}}{}", parsed.before, n, parsed.width, parsed.after);
        if (!used.contains(lower(name))) return name;
    }
    return failure(ErrorKind::exhausted,
                   fmt::format("all {} names of the pattern {} are taken", kMaxNumber, pattern));
}

std::string iqn_of(std::string_view name) { return normalised(kTargetPrefix, name); }
std::string initiator_of(std::string_view client_name) {
    return normalised(kInitiatorPrefix, client_name);
}

}  // namespace goldlink::manager
