// Hosts: the PostgreSQL servers that a --database-url names, of which one serves.
//
// libpq goes on to the next host when one refuses, not when one hangs, if it is asked without
// blocking. So each host is tried by itself, with a time limit of its own, the one that served last
// first. Threads: any.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "manager/db/connection.hpp"

namespace goldlink::manager::db {

// What a URL or conninfo string names: one server each, in its order. A single one, and what cannot
// be read, is left to libpq.
std::vector<Server> servers_of(const std::string& url);

class Hosts {
  public:
    explicit Hosts(const std::string& url) : servers_(servers_of(url)) {}
    // The limit to connect counts for each host, `until` for all.
    Result<Connection> connect(const Limits& limits);

  private:
    const std::vector<Server> servers_;
    std::atomic<std::size_t> first_{0};
};

}  // namespace goldlink::manager::db
