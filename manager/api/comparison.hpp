// What the target says of a disk's changes beside those of a version: as callers are shown it, and
// in words. Include only from .cpp files (Boost.JSON). Pure.
#pragma once

#include "manager/api/input.hpp"

namespace goldlink::manager::api {

// The members that the contract names (schema Overlap), of the target's answer.
Maybe<json::object> parse_comparison(const std::string& answer);

// "partition 2, what is outside of partitions": those that both changed.
std::string partitions_in_words(const json::object& overlap);

// "both changed 12288 bytes in 2 places (8192 at byte 1048576, ...)". `version`: whose the other
// changes are.
std::string overlap_in_words(const json::object& overlap, const std::string& version);

}  // namespace goldlink::manager::api
