#include "manager/task_end.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "common/json.hpp"
#include "manager/db/history.hpp"
#include "manager/db/images.hpp"
#include "manager/db/links.hpp"

namespace goldlink::manager {
namespace {

Result<> tell(db::Connection& c, const db::Task& task, const std::string& state,
              json::object data) {
    data["task"] = task.id;
    data["subject"] = task.subject;
    db::NewEvent event;
    event.kind = fmt::format("{}_{}", task.kind, state);
    event.link_id = task.link_id;
    event.data = json::serialize(data);
    return db::add_event(c, event);
}

}  // namespace

Result<> end_task_without_result(db::Connection& c, const db::Task& task, const std::string& state,
                                 const std::string& error) {
    GOLDLINK_TRY_ASSIGN(const bool ended,
                        db::end_task(c, task.id, state, state, error, std::nullopt));
    if (!ended) return {};
    if (task.version_id) GOLDLINK_TRY(db::set_version_failed(c, *task.version_id, error));
    return tell(c, task, state, {{"error", error}});
}

Result<> end_task_with_version(db::Connection& c, const db::Task& task, const MadeVersion& made) {
    json::object result{{"digest", made.digest},
                        {"size_bytes", made.size_bytes},
                        {"stored_bytes", made.stored_bytes}};
    std::optional<db::Version> version;
    if (task.version_id) {
        GOLDLINK_TRY_ASSIGN(version, db::find_version_by_id(c, *task.version_id));
    }
    if (version) {
        result["image"] = version->image;
        result["version"] = version->number;
    }
    std::string message = "done";
    if (task.kind == "save") {
        result["live"] = made.live;
        if (made.live) message = "saved while its client ran: as after a power cut at that moment";
    }
    if (made.salvage.is_object()) {
        const json::object& salvage = made.salvage.as_object();
        GOLDLINK_TRY_ASSIGN(const auto lost, json::int_field(salvage, "lost_bytes", 0, INT64_MAX));
        GOLDLINK_TRY_ASSIGN(const auto doubtful,
                            json::int_field(salvage, "doubtful_bytes", 0, INT64_MAX));
        message = fmt::format(
            "{} bytes are lost and read as zeros, {} may be older than the last "
            "that was written",
            lost, doubtful);
        result["salvage"] = made.salvage;
    }
    GOLDLINK_TRY_ASSIGN(const bool ended, db::end_task(c, task.id, "done", message, std::nullopt,
                                                       json::serialize(result)));
    if (!ended) return {};
    if (!version) {
        // Its image was deleted while it came in: nobody wants the data any more.
        GOLDLINK_TRY(db::queue_version_deletion(c, made.digest));
        return tell(c, task, "done", std::move(result));
    }
    const std::int64_t image_id = version->image_id;
    GOLDLINK_TRY(
        db::set_version_ready(c, version->id, made.digest, made.size_bytes, made.stored_bytes));
    if (made.base) GOLDLINK_TRY(db::set_parent_digest(c, version->id, *made.base));
    // The target runs the committed disk on over what it made of it.
    if (task.kind == "commit" && task.link_id)
        GOLDLINK_TRY(db::set_disk_version(c, *task.link_id, task.lun.value_or(0), version->id));
    GOLDLINK_TRY_ASSIGN(const auto channels, db::channels_of(c, {image_id}));
    const bool has_production =
        std::any_of(channels.begin(), channels.end(),
                    [](const db::Channel& channel) { return channel.name == "production"; });
    GOLDLINK_TRY_ASSIGN(const auto versions, db::versions_of(c, {image_id}));
    const auto ready =
        std::count_if(versions.begin(), versions.end(),
                      [](const db::Version& other) { return other.state == "ready"; });
    const std::string channel = ready == 1 && !has_production ? "production" : "latest";
    GOLDLINK_TRY(db::set_channel(c, image_id, channel, version->id));
    if (task.channel && *task.channel != channel)
        GOLDLINK_TRY(db::set_channel(c, image_id, *task.channel, version->id));
    return tell(c, task, "done", std::move(result));
}

Result<> end_task_with_rebase(db::Connection& c, const db::Task& task,
                              const std::string& result_json) {
    GOLDLINK_TRY_ASSIGN(const json::object source, json::parse_object(task.source.value_or("")));
    GOLDLINK_TRY_ASSIGN(const auto from, json::string_field(source, "from_version", 1, 140));
    GOLDLINK_TRY_ASSIGN(const auto to, json::string_field(source, "to_version", 1, 140));
    GOLDLINK_TRY_ASSIGN(const auto take, json::string_field(source, "take", 1, 16));
    GOLDLINK_TRY_ASSIGN(const json::object said, json::parse_object(result_json));
    json::object result{{"lun", task.lun.value_or(0)}, {"from", from}, {"to", to}, {"take", take}};
    for (const std::string_view name : {"mine_bytes", "theirs_bytes", "both_bytes"}) {
        GOLDLINK_TRY_ASSIGN(result[name], json::int_field(said, name, 0, INT64_MAX));
    }
    const std::string message =
        take == "written" ? fmt::format("what was written lies over {} now", to)
                          : fmt::format("the disk starts from {}; what was written is dropped", to);
    GOLDLINK_TRY_ASSIGN(const bool ended, db::end_task(c, task.id, "done", message, std::nullopt,
                                                       json::serialize(result)));
    if (!ended) return {};
    if (task.link_id && task.version_id) {
        GOLDLINK_TRY(db::set_disk_base(c, *task.link_id, task.lun.value_or(0), *task.version_id,
                                       task.channel));
        if (take != "written") GOLDLINK_TRY(db::forget_saved_from(c, *task.link_id));
    }
    return tell(c, task, "done", std::move(result));
}

Result<> end_task_with_repair(db::Connection& c, const db::Task& task,
                              const std::string& result_json) {
    GOLDLINK_TRY_ASSIGN(const json::object repair, json::parse_object(result_json));
    GOLDLINK_TRY_ASSIGN(const auto bad, json::int_field(repair, "bad_chunks", 0, INT64_MAX));
    GOLDLINK_TRY_ASSIGN(const auto mended, json::int_field(repair, "mended_chunks", 0, INT64_MAX));
    GOLDLINK_TRY_ASSIGN(const bool manifest, json::bool_field(repair, "manifest_mended"));
    return end_task_with_findings(c, task, result_json,
                                  fmt::format("{}{} of {} bad chunks mended",
                                              manifest ? "manifest made anew, " : "", mended, bad));
}

Result<> end_task_with_findings(db::Connection& c, const db::Task& task,
                                const std::string& result_json, const std::string& message) {
    GOLDLINK_TRY_ASSIGN(const bool ended,
                        db::end_task(c, task.id, "done", message, std::nullopt, result_json));
    if (!ended) return {};
    return tell(c, task, "done", {{"message", message}});
}

}  // namespace goldlink::manager
