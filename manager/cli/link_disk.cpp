#include "manager/cli/link_disk.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>

#include "manager/cli/text.hpp"

namespace goldlink::cli {
namespace {

constexpr std::int64_t kMaxLun = 255;
constexpr std::int64_t kMinQuotaBytes = 4096;  // a block

bool is_policy(std::string_view text) {
    return text == "discard" || text == "keep" || text == "super";
}

}  // namespace

Result<std::optional<std::int64_t>> parse_quota(std::string_view text) {
    if (text == "none") return std::optional<std::int64_t>();
    const auto bad = [&] {
        return failure(
            ErrorKind::invalid,
            fmt::format("'{}' is no quota: write bytes, as 20G or 512M, or none", printable(text)));
    };
    std::string number(text);  // becomes digits
    if (number.find_first_of("0123456789") != 0) return bad();
    try {
        if (!CLI::AsSizeValue(false)(number).empty()) return bad();
    } catch (const CLI::Error&) {
        return bad();
    }
    std::int64_t bytes = 0;
    const auto [stop, error] = std::from_chars(number.data(), number.data() + number.size(), bytes);
    if (error != std::errc() || stop != number.data() + number.size() || bytes < kMinQuotaBytes)
        return bad();
    return std::optional(bytes);
}

std::string check_quota(const std::string& text) {
    const auto quota = parse_quota(text);
    return quota ? "" : quota.error().message;
}

Result<LinkDisk> parse_link_disk(std::string_view text) {
    const auto bad = [&](std::string_view why) {
        return failure(ErrorKind::invalid,
                       fmt::format("'{}' is no disk of a link: {}. Write LUN=IMAGE or "
                                   "LUN=IMAGE,POLICY, for example 1=games or 2=personal,keep",
                                   printable(text), why));
    };
    LinkDisk disk;
    const auto equals = text.find('=');
    const char* const end = text.data() + std::min(equals, text.size());
    const auto [stop, error] = std::from_chars(text.data(), end, disk.lun);
    if (equals == std::string_view::npos || stop != end || error != std::errc() || disk.lun < 0 ||
        disk.lun > kMaxLun)
        return bad(fmt::format("it begins with a LUN from 1 to {} and '='", kMaxLun));
    if (disk.lun == 0) return bad("LUN 0 is the image of --image");
    auto rest = text.substr(equals + 1);
    auto comma = rest.find(',');
    if (const auto image = parse_image_ref(rest.substr(0, comma)); !image)
        return bad(image.error().message);
    disk.image = rest.substr(0, comma);
    while (comma != std::string_view::npos) {
        rest = rest.substr(comma + 1);
        comma = rest.find(',');
        const auto word = rest.substr(0, comma);
        if (word == "4kn" && !disk.native_4k)
            disk.native_4k = true;
        else if (is_policy(word) && disk.policy.empty())
            disk.policy = word;
        else if (word.starts_with("quota=") && !disk.quota_bytes) {
            const auto quota = parse_quota(word.substr(6));
            if (!quota) return bad(quota.error().message);
            disk.quota_bytes = *quota;
        } else
            return bad("after the image comes a policy (discard, keep or super), 4kn or quota=20G");
    }
    return disk;
}

std::string check_link_disk(const std::string& text) {
    const auto disk = parse_link_disk(text);
    return disk ? "" : disk.error().message;
}

}  // namespace goldlink::cli
