// Files of the tree that the binary carries: the migrations and the OpenAPI document, put into
// a source file at build time by embed.py. Threads: any (constant data).
#pragma once

#include <span>
#include <string_view>

namespace goldlink::manager {

struct Migration {
    int number;
    std::string_view name;  // "0001_registry.sql"
    std::string_view sql;
};

std::span<const Migration> embedded_migrations();  // in ascending order, without gaps
std::string_view openapi_json();

}  // namespace goldlink::manager
