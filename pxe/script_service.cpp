#include "pxe/script_service.hpp"

#include <fmt/format.h>

#include <chrono>

#include "common/log.hpp"
#include "pxe/decide.hpp"
#include "pxe/udp.hpp"

namespace goldlink::pxe {

namespace {

using Clock = std::chrono::steady_clock;

bool is_loopback(Ipv4 address) { return address.value >> 24 == 127; }

// A portal that listens on every address, or on one the machine cannot reach, is offered as the
// address the machine reached us on.
SanDisk disk_for(const TargetBoot& boot, const ScriptQuery& query, const std::string& initiator) {
    SanDisk disk;
    disk.portal_host = boot.portal_host;
    disk.portal_port = boot.portal_port;
    disk.lun = boot.lun;
    disk.iqn = boot.iqn;
    disk.username = boot.username;
    disk.secret = boot.secret;
    disk.initiator = initiator;
    auto portal = Ipv4::parse(boot.portal_host);
    const bool wildcard = (portal && portal->empty()) || boot.portal_host == "[::]";
    const bool out_of_reach = portal && is_loopback(*portal) && !is_loopback(query.local);
    if ((wildcard || out_of_reach) && !query.local.empty()) {
        portal = query.local;
        disk.portal_host = query.local.to_string();
    }
    if (const auto here = interface_with(query.local); portal && here)
        disk.same_subnet = same_subnet(*portal, query.client, here->netmask) &&
                           same_subnet(*portal, here->address, here->netmask);
    return disk;
}

}  // namespace

std::string ScriptService::script(const ScriptQuery& query) {
    const auto table = state_.tables.table();
    const TableClient* client = table->find(query.mac);
    const bool again = query.try_number > 1 || query.register_it;

    ScriptFrame frame;
    frame.http_base = http_base(table->settings(), query.local, query.local_port);
    frame.mac = query.mac;
    frame.uuid = query.uuid;
    frame.architecture = query.architecture;
    frame.name = client != nullptr ? client->name : query.mac.to_string();
    frame.menu_timeout_seconds = table->settings().menu_timeout_seconds;
    frame.try_number = query.try_number;

    BootEvent event;
    event.mac = query.mac;
    event.client_id = client != nullptr ? client->id : "";
    event.boot_id = state_.boots.script(query.mac, again, Clock::now());
    state_.boots.learn_address(query.mac, query.client);
    event.data = {
        {"arch", query.architecture}, {"address", query.client.to_string()}, {"uuid", query.uuid}};

    if (client == nullptr) return for_unknown(query, frame, *table, std::move(event));
    if (client->boot == BootFrom::local) {
        event.kind = "local_boot";
        state_.events.add(event);
        state_.metrics.scripts_local++;
        return local_script(frame);
    }
    return for_link(query, frame, *client, std::move(event));
}

std::string ScriptService::for_unknown(const ScriptQuery& query, const ScriptFrame& frame,
                                       const BootTable& table, BootEvent event) {
    const UnknownPolicy policy = table.settings().unknown_policy;
    const bool report =
        policy == UnknownPolicy::register_it || (policy == UnknownPolicy::ask && query.register_it);
    event.kind = report ? "client_unknown" : "local_boot";
    if (!report) event.data.emplace_back("why", "the machine is in no table");
    // A single host that asks for thousands of addresses would fill the manager's list.
    const bool told = state_.events.add_unproven(event);
    state_.metrics.scripts_unknown++;
    if (report && told)
        log::info("unknown machine {} at {} asks to boot", frame.name, query.client.to_string());
    return unknown_script(frame, policy, report && told);
}

std::string ScriptService::trouble(const ScriptFrame& frame, BootEvent event,
                                   const std::string& what, const std::string& why) {
    log::warn("{} ({}) cannot boot: {}: {}", plain_text(frame.name), frame.mac.to_string(), what,
              why);
    event.kind = "boot_refused";
    event.data.emplace_back("why", fmt::format("{}: {}", what, why));
    state_.events.add(event);
    state_.metrics.scripts_refused++;
    return trouble_script(frame, what, why);
}

std::string ScriptService::for_link(const ScriptQuery& query, const ScriptFrame& frame,
                                    const TableClient& client, BootEvent event) {
    if (!client.link_id)
        return trouble(frame, std::move(event), "this machine has no disk assigned",
                       "assign it an image in the console, or set it to boot from its local disk");
    const auto boot = target_.new_boot(*client.link_id, event.boot_id, client.initiator);
    if (!boot) {
        const bool silent =
            boot.error().kind == ErrorKind::unavailable || boot.error().kind == ErrorKind::timeout;
        return trouble(
            frame, std::move(event),
            silent ? "the disk server does not answer" : "the disk server refuses this boot",
            boot.error().message);
    }
    SanDisk disk = disk_for(*boot, query, client.initiator);
    disk.install_lun = client.install_lun;
    const auto text = link_script(frame, disk);
    if (!text)
        return trouble(frame, std::move(event), "this disk cannot be named to iPXE",
                       text.error().message);
    event.kind = "script";
    event.data.emplace_back("link_id", *client.link_id);
    event.generation = boot->generation;
    event.data.emplace_back("iqn", boot->iqn);
    if (client.install_lun)
        event.data.emplace_back("install_lun", std::to_string(*client.install_lun));
    state_.events.add(event);
    state_.metrics.scripts_link++;
    log::info("{} ({}) boots generation {} of {}", plain_text(client.name), query.mac.to_string(),
              boot->generation, boot->iqn);
    return *text;
}

void ScriptService::failed(const Mac& mac, std::string_view stage, std::string_view error,
                           Ipv4 client) {
    const auto table = state_.tables.table();
    const TableClient* known = table->find(mac);
    BootEvent event;
    event.kind = "ipxe_failed";
    event.mac = mac;
    event.client_id = known != nullptr ? known->id : "";
    event.boot_id = state_.boots.current(mac);
    event.data = {
        {"why", fmt::format("iPXE error {} at {}", plain_text(error, 64), plain_text(stage, 32))},
        {"address", client.to_string()}};
    if (!state_.events.add_unproven(event)) return;
    state_.metrics.ipxe_failures++;
    log::warn("{} could not start its disk: iPXE error {} at {}", mac.to_string(),
              plain_text(error, 64), plain_text(stage, 32));
}

}  // namespace goldlink::pxe
