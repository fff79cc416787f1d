// Comma-separated values (RFC 4180): quoted fields, doubled quotes, LF or CRLF. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/result.hpp"

namespace goldlink::manager {

struct CsvRow {
    int line = 0;  // where it starts, from 1
    std::vector<std::string> fields;
};

// Empty lines are left out. Errors name the line; bounds: 100,000 rows of 64 fields.
Result<std::vector<CsvRow>> parse_csv(std::string_view text);

}  // namespace goldlink::manager
