#include "manager/db/hosts.hpp"

#include <fmt/format.h>
#include <libpq-fe.h>

#include <memory>
#include <string_view>

namespace goldlink::manager::db {
namespace {

struct FreeOptions {
    void operator()(PQconninfoOption* options) const { PQconninfoFree(options); }
};
using Options = std::unique_ptr<PQconninfoOption, FreeOptions>;

std::string value_of(const Options& options, std::string_view name) {
    for (const PQconninfoOption* option = options.get(); option->keyword != nullptr; ++option)
        if (option->keyword == name && option->val != nullptr) return option->val;
    return "";
}

// "a,,b" are three.
std::vector<std::string> split(const std::string& list) {
    std::vector<std::string> parts(1);
    for (const char c : list)
        if (c == ',')
            parts.emplace_back();
        else
            parts.back() += c;
    return parts;
}

}  // namespace

std::vector<Server> servers_of(const std::string& url) {
    const Options options(PQconninfoParse(url.c_str(), nullptr));
    if (options == nullptr) return {{url, {}}};
    const auto hosts = split(value_of(options, "host"));
    const auto addresses = split(value_of(options, "hostaddr"));
    const auto ports = split(value_of(options, "port"));
    const std::size_t count = std::max(hosts.size(), addresses.size());
    const auto fits = [&](const std::vector<std::string>& parts, bool one_for_all) {
        return parts.size() == count || (parts.size() == 1 && (one_for_all || parts[0].empty()));
    };
    if (count < 2 || !fits(hosts, false) || !fits(addresses, false) || !fits(ports, true))
        return {{url, {}}};
    const bool any_session = value_of(options, "target_session_attrs").empty();
    std::vector<Server> servers;
    for (std::size_t i = 0; i < count; ++i) {
        Server server{url, {}};
        const auto one = [&](const char* name, const std::vector<std::string>& parts) {
            const std::string& part = parts.size() == 1 ? parts[0] : parts[i];
            if (parts.size() > 1 || !part.empty()) server.options.emplace_back(name, part);
        };
        one("host", hosts);
        one("hostaddr", addresses);
        one("port", ports);
        // A standby would do for libpq; the registry is written to.
        if (any_session) server.options.emplace_back("target_session_attrs", "read-write");
        servers.push_back(std::move(server));
    }
    return servers;
}

Result<Connection> Hosts::connect(const Limits& limits) {
    const std::size_t first = first_;
    std::string problems;
    for (std::size_t i = 0; i < servers_.size(); ++i) {
        const std::size_t at = (first + i) % servers_.size();
        auto connection = Connection::open(servers_[at], limits);
        if (connection) first_ = at;
        if (connection || servers_.size() == 1) return connection;
        problems += fmt::format("{}{}", problems.empty() ? "" : "; ", connection.error().message);
        if (Limits::Clock::now() >= limits.until) break;
    }
    return failure(
        ErrorKind::unavailable,
        fmt::format("none of the {} hosts of the database serves: {}", servers_.size(), problems));
}

}  // namespace goldlink::manager::db
