#include "manager/cli/link_disk.hpp"

#include <fmt/format.h>

#include <charconv>

#include "manager/cli/text.hpp"

namespace goldlink::cli {
namespace {

constexpr std::int64_t kMaxLun = 255;

bool is_policy(std::string_view text) {
    return text == "discard" || text == "keep" || text == "super";
}

}  // namespace

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
        else
            return bad("after the image comes a policy (discard, keep or super), or 4kn");
    }
    return disk;
}

std::string check_link_disk(const std::string& text) {
    const auto disk = parse_link_disk(text);
    return disk ? "" : disk.error().message;
}

}  // namespace goldlink::cli
