#include "manager/api/views.hpp"

#include <fmt/format.h>

#include "common/http/client.hpp"

namespace goldlink::manager::api {
namespace {

json::value nullable(const std::optional<std::string>& text) {
    return text ? json::value(*text) : json::value(nullptr);
}

json::value parsed(const std::string& text) {
    auto value = json::parse(text);
    return value ? std::move(*value) : json::value(nullptr);
}

json::value member(const json::object* object, std::string_view name) {
    const json::value* found = object == nullptr ? nullptr : object->if_contains(name);
    return found == nullptr ? json::value(nullptr) : *found;
}

// The members that the contract names; a newer target may say more.
json::value only(const json::value& value, std::initializer_list<std::string_view> names) {
    if (!value.is_object()) return nullptr;
    json::object kept;
    for (const std::string_view name : names) kept[name] = member(&value.as_object(), name);
    return kept;
}

json::array sessions_of(const json::object* live) {
    json::array shown;
    const json::value sessions = member(live, "sessions");
    if (!sessions.is_array()) return shown;
    for (const json::value& session : sessions.as_array())
        shown.push_back(only(session, {"initiator_name", "address", "since", "isid"}));
    return shown;
}

}  // namespace

json::object view(const db::Token& token) {
    return {{"id", token.id},
            {"name", token.name},
            {"role", token.role},
            {"created_at", token.created_at},
            {"expires_at", nullable(token.expires_at)},
            {"last_used_at", nullable(token.last_used_at)}};
}

json::object view(const db::Version& version, const json::object* live) {
    const bool ready = version.state == "ready";
    return {
        {"image", version.image},
        {"number", version.number},
        {"digest", nullable(version.digest)},
        {"size_bytes", ready ? json::value(version.size_bytes) : json::value(nullptr)},
        {"stored_bytes", ready ? json::value(version.stored_bytes) : json::value(nullptr)},
        {"note", version.note},
        {"state", version.state},
        {"error", nullable(version.error)},
        {"damage", member(live, "damage")},
        {"bad_bytes", member(live, "bad_bytes")},
        {"verified_at", member(live, "verified_at")},
        {"reads", member(live, "reads")},
        {"boot_trace", member(live, "boot_trace")},
        {"pin", only(member(live, "pin"), {"wanted_bytes", "pinned_bytes", "problem"})},
        {"parent", nullable(version.parent)},
        {"made_by", version.made_by.empty() ? json::value(nullptr) : json::value(version.made_by)},
        {"created_at", version.created_at}};
}

json::object view(const db::Image& image, const std::vector<db::Version>& versions,
                  const std::vector<db::Channel>& channels,
                  const std::map<std::string, json::object>& live) {
    json::object by_name;
    json::array pinned;
    for (const db::Channel& channel : channels)
        if (channel.image_id == image.id) {
            by_name[channel.name] = channel.version;
            if (channel.pinned) pinned.emplace_back(channel.name);
        }
    json::array list;
    json::value size = nullptr;
    for (const db::Version& version : versions) {
        if (version.image_id != image.id) continue;
        if (size.is_null() && version.state == "ready") size = version.size_bytes;
        const auto found = live.find(version.digest.value_or(""));
        list.push_back(view(version, found == live.end() ? nullptr : &found->second));
    }
    return {{"name", image.name},
            {"kind", image.kind},
            {"note", image.note},
            {"created_at", image.created_at},
            {"size_bytes", size},
            {"channels", std::move(by_name)},
            {"pinned_channels", std::move(pinned)},
            {"versions", std::move(list)}};
}

json::object view(const db::Group& group) {
    return {{"name", group.name},
            {"image", nullable(group.image)},
            {"policy", group.policy},
            {"naming_pattern", group.naming_pattern},
            {"client_count", group.client_count}};
}

json::object view(const db::Boot& boot) {
    json::array stages;
    for (const db::BootStage& stage : boot.stages)
        stages.push_back(json::object{{"stage", stage.stage},
                                      {"at", stage.at},
                                      {"after_ms", stage.after_ms},
                                      {"detail", stage.detail}});
    return {{"id", boot.id},
            {"client", boot.client},
            {"started_at", boot.started_at},
            {"ended_at", nullable(boot.ended_at)},
            {"firmware", nullable(boot.firmware)},
            {"address", nullable(boot.address)},
            {"stages", std::move(stages)},
            {"state", boot.state},
            {"problem", nullable(boot.problem)}};
}

json::object view(const db::Client& client, const std::vector<db::Boot>& last_boots) {
    json::value last = nullptr;
    for (const db::Boot& boot : last_boots)
        if (boot.client == client.name) last = view(boot);
    return {{"id", client.id},
            {"name", client.name},
            {"macs", json::array(client.macs.begin(), client.macs.end())},
            {"group", nullable(client.group)},
            {"state", client.state},
            {"note", client.note},
            {"link_id", nullable(client.link_id)},
            {"image", nullable(client.image)},
            {"policy", nullable(client.policy)},
            {"last_boot", std::move(last)},
            {"created_at", client.created_at}};
}

json::object view(const db::Task& task) {
    return {{"id", task.id},
            {"kind", task.kind},
            {"subject", task.subject},
            {"state", task.state},
            {"done_bytes", task.done_bytes},
            {"total_bytes", task.total_bytes},
            {"message", task.message},
            {"error", nullable(task.error)},
            {"result", task.result ? parsed(*task.result) : json::value(nullptr)},
            {"created_at", task.created_at},
            {"finished_at", nullable(task.finished_at)}};
}

json::object view(const db::Event& event) {
    return {{"id", event.id},
            {"time", event.time},
            {"kind", event.kind},
            {"client", nullable(event.client)},
            {"link_id", nullable(event.link_id)},
            {"boot_id", nullable(event.boot_id)},
            {"data", parsed(event.data)}};
}

namespace {

json::value url_of(const db::Link& link, std::int64_t lun, const LinkContext& context) {
    if (!context.secrets || !context.portal) return nullptr;
    return json::value(fmt::format("iscsi://{}%{}@{}/{}/{}", http::percent_encode(link.username),
                                   link.secret, *context.portal, link.iqn, lun));
}

const json::object* live_of(const LinkContext& context) {
    return context.live ? &*context.live : nullptr;
}

json::value shown_overlay(const json::value& overlay) {
    return only(overlay, {"used_bytes", "quota_bytes", "ram_bytes"});
}

// What the target says of the disk in the generation that runs.
json::value running_member(const json::object* live, std::int64_t lun, std::string_view name) {
    const json::value running = member(live, "running");
    if (!running.is_array()) return nullptr;
    for (const json::value& disk : running.as_array())
        if (disk.is_object() && member(&disk.as_object(), "lun") == json::value(lun))
            return member(&disk.as_object(), name);
    return nullptr;
}

json::object view(const db::Link& link, const db::LinkDisk& disk, const LinkContext& context) {
    const bool cdrom = disk.kind == "iso";
    return {
        {"lun", disk.lun},
        {"image", disk.image},
        {"version", disk.version},
        {"channel", nullable(disk.channel)},
        {"channel_version",
         disk.channel_version ? json::value(*disk.channel_version) : json::value(nullptr)},
        {"policy", disk.policy},
        {"quota_bytes", disk.quota_bytes ? json::value(*disk.quota_bytes) : json::value(nullptr)},
        {"type", cdrom ? "cdrom" : "disk"},
        {"logical_block_bytes", cdrom ? 2048 : disk.logical_block_bytes},
        {"url", url_of(link, disk.lun, context)},
        {"problem", running_member(live_of(context), disk.lun, "problem")},
        {"overlay", shown_overlay(running_member(live_of(context), disk.lun, "overlay"))}};
}

json::array disks_of(const db::Link& link, const LinkContext& context) {
    json::array disks;
    for (const db::LinkDisk& disk : link.disks) disks.push_back(view(link, disk, context));
    return disks;
}

}  // namespace

json::object view(const db::Link& link, const LinkContext& context) {
    const LinkStanding standing = standing_of(link, context.live);
    const auto shown = [&](const std::string& secret) {
        return context.secrets ? json::value(secret) : json::value(nullptr);
    };
    return {{"id", link.id},
            {"client", nullable(link.client)},
            {"lease_expires_at", nullable(link.lease_expires_at)},
            {"image", link.image},
            {"version", link.version},
            {"channel", nullable(link.channel)},
            {"policy", link.policy},
            {"iqn", link.iqn},
            {"portal", context.portal.value_or("")},
            {"lun", link.lun},
            {"username", shown(link.username)},
            {"secret", shown(link.secret)},
            {"url", url_of(link, link.lun, context)},
            {"state", standing.state},
            {"problem", nullable(standing.problem)},
            {"generation", member(live_of(context), "generation")},
            {"sessions", sessions_of(live_of(context))},
            {"overlay", shown_overlay(member(live_of(context), "overlay"))},
            {"disks", disks_of(link, context)},
            {"install", link.install},
            {"created_at", link.created_at}};
}

}  // namespace goldlink::manager::api
