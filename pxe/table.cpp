#include "pxe/table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <unordered_set>

namespace goldlink::pxe {

Result<BootTable> BootTable::make(std::uint64_t revision, TableSettings settings,
                                  std::vector<TableClient> clients) {
    if (clients.size() > kMaxClients)
        return failure(ErrorKind::invalid,
                       fmt::format("{} clients are more than the {} a boot table "
                                   "holds",
                                   clients.size(), kMaxClients));
    if (!settings.http_base.empty()) GOLDLINK_TRY(check_http_base(settings.http_base));
    BootTable table;
    table.revision_ = revision;
    table.settings_ = std::move(settings);
    table.clients_ = std::move(clients);
    std::unordered_set<std::string_view> ids;
    for (std::size_t i = 0; i < table.clients_.size(); ++i) {
        const TableClient& client = table.clients_[i];
        if (!ids.insert(client.id).second)
            return failure(ErrorKind::conflict,
                           fmt::format("client id {} is in the table twice", client.id));
        if (client.macs.empty() || client.macs.size() > kMaxMacsPerClient)
            return failure(ErrorKind::invalid,
                           fmt::format("client {} has {} MAC addresses; 1 to {} are possible",
                                       client.name, client.macs.size(), kMaxMacsPerClient));
        for (const Mac& mac : client.macs) {
            const auto [at, fresh] = table.by_mac_.emplace(mac, i);
            if (!fresh && at->second != i)
                return failure(ErrorKind::conflict,
                               fmt::format("MAC {} belongs to both {} and {}", mac.to_string(),
                                           table.clients_[at->second].name, client.name));
        }
    }
    return table;
}

const TableClient* BootTable::find(const Mac& mac) const {
    const auto at = by_mac_.find(mac);
    return at == by_mac_.end() ? nullptr : &clients_[at->second];
}

std::string_view to_string(UnknownPolicy policy) {
    switch (policy) {
        case UnknownPolicy::register_it:
            return "register";
        case UnknownPolicy::ask:
            return "ask";
        case UnknownPolicy::local:
            return "local";
    }
    return "local";
}

std::string_view to_string(BootFrom boot) { return boot == BootFrom::link ? "link" : "local"; }

Result<UnknownPolicy> parse_unknown_policy(std::string_view text) {
    for (const auto policy : {UnknownPolicy::register_it, UnknownPolicy::ask, UnknownPolicy::local})
        if (to_string(policy) == text) return policy;
    return failure(ErrorKind::invalid,
                   fmt::format("unknown_policy \"{}\" is none of register, ask, local", text));
}

Result<BootFrom> parse_boot_from(std::string_view text) {
    for (const auto boot : {BootFrom::link, BootFrom::local})
        if (to_string(boot) == text) return boot;
    return failure(ErrorKind::invalid, fmt::format("boot \"{}\" is neither link nor local", text));
}

Result<> check_http_base(std::string_view text) {
    const auto refuse = [&](std::string_view why) {
        return failure(ErrorKind::invalid,
                       fmt::format("http_base \"{}\" cannot be used: {}; write it like "
                                   "http://10.0.0.1:8081",
                                   text.substr(0, 128), why));
    };
    constexpr std::string_view kScheme = "http://";
    if (text.size() > kMaxHttpBase)
        return refuse(fmt::format("it is longer than {} bytes", kMaxHttpBase));
    if (!text.starts_with(kScheme)) return refuse("it does not begin with http://");
    std::string_view host = text.substr(kScheme.size());
    if (const auto colon = host.find(':'); colon != std::string_view::npos) {
        const std::string_view port = host.substr(colon + 1);
        std::uint16_t number = 0;
        const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
        if (error != std::errc{} || end != port.data() + port.size() || number == 0)
            return refuse("its port is not a number from 1 to 65535");
        host = host.substr(0, colon);
    }
    const auto allowed = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '.' || c == '-';
    };
    if (host.empty() || !std::all_of(host.begin(), host.end(), allowed))
        return refuse("its host is not a plain name or IPv4 address, or a path follows it");
    return {};
}

}  // namespace goldlink::pxe
