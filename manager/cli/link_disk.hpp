// A data disk of a link as the command line names it: LUN=REF[,POLICY][,4kn]
// [,quota=BYTES]. Pure; threads: any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/result.hpp"

namespace goldlink::cli {

struct LinkDisk {
    std::int64_t lun = 0;
    std::string image;
    std::string policy;  // "" when none was given
    bool native_4k = false;
    std::optional<std::int64_t> quota_bytes;
};

// "1=games", "2=personal:stable,keep", "3=games,discard,4kn". LUN 0 is --image's.
Result<LinkDisk> parse_link_disk(std::string_view text);
// "40G" (of 1024), "5000000000"; "none": nullopt.
Result<std::optional<std::int64_t>> parse_quota(std::string_view text);
// For CLI11: what is wrong with it, or "".
std::string check_link_disk(const std::string& text);
std::string check_quota(const std::string& text);

}  // namespace goldlink::cli
