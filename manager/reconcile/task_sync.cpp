#include "manager/reconcile/task_sync.hpp"

#include <fmt/format.h>

#include "common/json.hpp"
#include "common/log.hpp"
#include "manager/db/garbage.hpp"
#include "manager/db/history.hpp"
#include "manager/db/images.hpp"
#include "manager/db/pool.hpp"
#include "manager/garbage.hpp"
#include "manager/reconcile/finding_names.hpp"
#include "manager/task_end.hpp"

namespace goldlink::manager {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kPollEvery{250};
constexpr seconds kIdle{30};
constexpr int kMaxRestarts = 2;

struct Progress {
    std::string state;
    std::int64_t done_bytes = 0, total_bytes = 0;
    std::string error;
    json::object version;
    std::optional<std::string> base;
    bool live = false;
    json::value findings;
    json::value exported;
    json::value repair;
    json::value rebase, check, salvage;
    json::value gc;
    std::int64_t prewarmed_bytes = 0;
};

Result<Progress> parse_progress(const std::string& body) {
    GOLDLINK_TRY_ASSIGN(const json::object object, json::parse_object(body));
    Progress progress;
    GOLDLINK_TRY_ASSIGN(progress.state, json::string_field(object, "state", 1, 32));
    if (const auto done = json::optional_int(object, "done_bytes", 0, INT64_MAX); done)
        progress.done_bytes = done->value_or(0);
    if (const auto total = json::optional_int(object, "total_bytes", 0, INT64_MAX); total)
        progress.total_bytes = total->value_or(0);
    if (const json::value* error = object.if_contains("error"); error != nullptr) {
        if (error->is_object()) {
            const auto message = json::optional_string(error->as_object(), "message", 4000);
            progress.error = message && *message ? **message : json::serialize(*error);
        } else if (error->is_string()) {
            progress.error = std::string(error->as_string());
        }
    }
    if (const json::value* version = object.if_contains("version");
        version != nullptr && version->is_object())
        progress.version = version->as_object();
    if (const auto base = json::optional_string(object, "base", 64); base) progress.base = *base;
    if (const auto live = json::optional_bool(object, "live"); live)
        progress.live = live->value_or(false);
    if (const json::value* findings = object.if_contains("findings")) progress.findings = *findings;
    if (const json::value* exported = object.if_contains("export")) progress.exported = *exported;
    if (const json::value* repair = object.if_contains("repair")) progress.repair = *repair;
    if (const json::value* rebase = object.if_contains("rebase")) progress.rebase = *rebase;
    if (const json::value* check = object.if_contains("check")) progress.check = *check;
    if (const json::value* salvage = object.if_contains("salvage")) progress.salvage = *salvage;
    if (const json::value* gc = object.if_contains("gc")) progress.gc = *gc;
    if (const auto read = json::optional_int(object, "prewarmed_bytes", 0, INT64_MAX); read)
        progress.prewarmed_bytes = read->value_or(0);
    return progress;
}

// The versions that a clean-up dropped from the registry.
Result<json::array> superseded_of(const db::Task& task) {
    if (!task.source) return json::array();
    GOLDLINK_TRY_ASSIGN(const auto source, json::parse_object(*task.source));
    return json::array_field(source, "superseded", 10'000);
}

// What a clean-up has removed, for the API.
Result<json::object> gc_result(const json::value& report, const db::Task& task) {
    if (!report.is_object())
        return failure(ErrorKind::corrupt, "the target did not say what it has removed");
    GOLDLINK_TRY_ASSIGN(const auto superseded, superseded_of(task));
    return garbage_view(report.get_object(), superseded, false);
}

// Their data that is still there, because a client ran on it or the clean-up did not come so far,
// goes as that of any deleted version does.
Result<> queue_superseded(db::Connection& c, const db::Task& task) {
    if (task.kind != "gc") return {};
    GOLDLINK_TRY_ASSIGN(const auto superseded, superseded_of(task));
    for (const json::value& version : superseded) {
        if (!version.is_object()) continue;
        GOLDLINK_TRY_ASSIGN(const auto digest,
                            json::string_field(version.get_object(), "digest", 64, 64));
        GOLDLINK_TRY(db::queue_version_deletion(c, digest));
    }
    return {};
}

std::string gc_message(const json::object& result) {
    const std::size_t stay = result.at("kept").as_array().size();
    return fmt::format("{} things went, {} bytes came back{}", result.at("items").as_array().size(),
                       result.at("bytes").as_int64(),
                       stay == 0 ? "" : fmt::format(", {} could not go yet", stay));
}

// The spool's name of a file means nothing to whoever uploaded it.
std::string in_users_words(std::string text, const db::Task& task) {
    if (!task.upload) return text;
    for (std::size_t at = text.find(*task.upload); at != std::string::npos;
         at = text.find(*task.upload, at))
        text.replace(at, task.upload->size(), "the uploaded file");
    return text;
}

// What the target is to import of an upload in pieces, or of its own machine.
Result<> add_source(const db::Task& task, json::object& body) {
    GOLDLINK_TRY_ASSIGN(const auto source, json::parse_object(*task.source));
    body["format"] = task.format;
    if (const auto* path = source.if_contains("server_path")) {
        body["server_path"] = *path;
        if (const auto* parents = source.if_contains("parents")) body["parents"] = *parents;
        return {};
    }
    GOLDLINK_TRY_ASSIGN(const auto files, json::array_field(source, "files", 10'000));
    if (files.empty() || !files[0].is_object())
        return failure(ErrorKind::corrupt, fmt::format("upload {} names no file", task.id));
    body["upload"] = task.upload.value_or("");
    body["file"] = files[0].get_object().at("name");
    if (const auto* digests = source.if_contains("sha256")) body["sha256"] = *digests;
    return {};
}

}  // namespace

Result<> TaskSync::round(db::Connection& c) {
    if (Clock::now() < next_try_ && next_try_ - Clock::now() <= kPollEvery) return {};
    away_ = false;
    GOLDLINK_TRY_ASSIGN(const auto stale, db::stale_uploads(c));
    for (const db::Task& task : stale) {
        if (task.cancel_requested)
            GOLDLINK_TRY(give_up(c, task, "cancelled", "cancelled"));
        else
            GOLDLINK_TRY(give_up(c, task, "failed",
                                 task.source
                                     ? "the upload was given up: nothing more came for a day"
                                     : "the upload was cut off: the manager that took it was "
                                       "stopped"));
    }
    GOLDLINK_TRY_ASSIGN(const auto tasks, db::active_tasks(c));
    for (const db::Task& task : tasks) {
        if (away_) break;
        GOLDLINK_TRY(task.phase == "start" ? start(c, task) : poll(c, task));
    }
    if (!away_) GOLDLINK_TRY(delete_versions(c));
    next_try_ = Clock::now() + (away_           ? milliseconds(seconds(1))
                                : tasks.empty() ? milliseconds(kIdle)
                                                : kPollEvery);
    return {};
}

Result<> TaskSync::start(db::Connection& c, const db::Task& task) {
    if (task.cancel_requested) return give_up(c, task, "cancelled", "cancelled before it began");
    if (task.kind == "gc") return start_gc(c, task);
    std::string path;
    json::object body{{"id", task.id}};
    if (task.kind == "import") {
        path = "/imports";
        if (task.blank_bytes) {
            body["blank_bytes"] = *task.blank_bytes;
        } else if (task.source) {
            GOLDLINK_TRY(add_source(task, body));
        } else {
            body["upload"] = task.upload.value_or("");
            body["format"] = task.format;
        }
    } else if (task.kind == "verify" || task.kind == "prewarm") {
        path = "/versions/" + task.digest.value_or("") + "/" + task.kind;
    } else if (task.kind == "export") {
        path = "/versions/" + task.digest.value_or("") + "/export";
        body["format"] = task.format;
    } else if (task.kind == "repair") {
        path = "/versions/" + task.digest.value_or("") + "/repair";
        body["upload"] = task.upload.value_or("");
        body["format"] = task.format;
    } else if (task.kind == "commit" || task.kind == "save" || task.kind == "salvage" ||
               task.kind == "check") {
        if (!task.link_id) return give_up(c, task, "failed", "its link was removed");
        path = "/links/" + *task.link_id + "/" + (task.kind == "check" ? "verify" : task.kind);
        if (task.lun) body["lun"] = *task.lun;
    } else if (task.kind == "rebase") {
        if (!task.link_id) return give_up(c, task, "failed", "its link was removed");
        path = "/links/" + *task.link_id + "/rebase";
        GOLDLINK_TRY_ASSIGN(const auto source, json::parse_object(task.source.value_or("")));
        body["lun"] = task.lun.value_or(0);
        body["version"] = task.digest.value_or("");
        for (const char* name : {"from", "take", "force"})
            if (const auto* value = source.if_contains(name)) body[name] = *value;
    } else if (task.kind == "grow") {
        path = "/versions/" + task.digest.value_or("") + "/grow";
        body["size_bytes"] = task.blank_bytes.value_or(0);
    } else {
        return give_up(c, task, "failed",
                       fmt::format("this manager cannot carry out a task of kind {}", task.kind));
    }
    const auto answer = services_.target.call("POST", path, json::serialize(body), seconds(15));
    if (answer)
        return db::set_task_phase(c, task.id, "poll", "running",
                                  task.kind == "import" ? "importing" : "running");
    if (answer.error().no_answer() || answer.error().status == 503) {
        away_ = true;
        return {};
    }
    return give_up(c, task, "failed", answer.error().detail);
}

// The target says what it has before the registry is asked what it needs: garbage.hpp.
Result<> TaskSync::start_gc(db::Connection& c, const db::Task& task) {
    const auto failed = [&](const PeerError& error) -> Result<> {
        away_ = error.no_answer() || error.status == 503;
        return away_ ? Result<>() : give_up(c, task, "failed", error.detail);
    };
    const auto candidates = garbage_candidates(services_.target);
    if (!candidates) return failed(candidates.error());
    GOLDLINK_TRY_ASSIGN(const auto needs, db::registry_needs(c, {}));
    json::object body = unwanted(*candidates, needs);
    body["id"] = task.id;
    const auto answer = services_.target.call("POST", "/gc", json::serialize(body), seconds(30));
    if (!answer && answer.error().status != 409) return failed(answer.error());
    // It was started before and the answer lost, or the target was restarted in between: then anew.
    if (!answer && !services_.target.call("GET", "/imports/" + task.id)) return {};
    return db::set_task_phase(c, task.id, "poll", "running", "giving back what nobody wants");
}

Result<> TaskSync::poll(db::Connection& c, const db::Task& task) {
    if (task.cancel_requested) {
        const auto asked = services_.target.call("DELETE", "/imports/" + task.id, "", seconds(15));
        if (!asked && asked.error().no_answer()) {
            away_ = true;
            return {};
        }
        if (!asked && asked.error().status == 404)
            return give_up(c, task, "cancelled", "cancelled");
    }
    const auto answer = services_.target.call("GET", "/imports/" + task.id);
    if (!answer) {
        if (answer.error().status != 404) {
            away_ = true;
            return {};
        }
        return task.cancel_requested ? give_up(c, task, "cancelled", "cancelled") : lost(c, task);
    }
    return ended(c, task, *answer);
}

// Also called while it runs: notes the progress then.
Result<> TaskSync::ended(db::Connection& c, const db::Task& task, const std::string& state_json) {
    const auto parsed = parse_progress(state_json);
    if (!parsed) return give_up(c, task, "failed", parsed.error().message);
    const Progress& progress = *parsed;
    if (progress.state == "failed")
        return give_up(c, task, "failed",
                       progress.error.empty() ? "the target gave no reason" : progress.error);
    if (progress.state == "cancelled") return give_up(c, task, "cancelled", "cancelled");
    if (progress.state != "done") {
        if (progress.done_bytes == task.done_bytes && progress.total_bytes == task.total_bytes)
            return {};
        return db::set_task_progress(c, task.id, progress.done_bytes, progress.total_bytes,
                                     task.message);
    }
    Result<> noted = {};
    if (task.kind == "verify") {
        const json::array findings =
            progress.findings.is_array() ? progress.findings.as_array() : json::array();
        const std::size_t bad = findings.size();
        noted = db::Pool::in_transaction(c, [&](db::Connection& t) -> Result<> {
            GOLDLINK_TRY_ASSIGN(json::array named, name_findings(t, findings));
            const json::object result{{"findings", std::move(named)}};
            GOLDLINK_TRY(db::set_task_progress(t, task.id, progress.total_bytes,
                                               progress.total_bytes, task.message));
            return end_task_with_findings(
                t, task, json::serialize(result),
                bad == 0 ? "every chunk is as it was written" : fmt::format("{} findings", bad));
        });
    } else if (task.kind == "export") {
        noted = db::Pool::in_transaction(c, [&](db::Connection& t) -> Result<> {
            GOLDLINK_TRY(db::set_task_progress(t, task.id, progress.total_bytes,
                                               progress.total_bytes, task.message));
            return end_task_with_findings(t, task, json::serialize(progress.exported),
                                          "written; fetch it within a day");
        });
    } else if (task.kind == "check") {
        if (!progress.check.is_object())
            return give_up(c, task, "failed", "the target did not say what it has found");
        const auto bad = json::int_field(progress.check.as_object(), "bad_bytes", 0, INT64_MAX);
        noted = db::Pool::in_transaction(c, [&](db::Connection& t) -> Result<> {
            GOLDLINK_TRY(db::set_task_progress(t, task.id, progress.total_bytes,
                                               progress.total_bytes, task.message));
            return end_task_with_findings(
                t, task, json::serialize(progress.check),
                bad && *bad == 0 ? std::string("every block is as it was written")
                                 : fmt::format("{} bytes are not what was written, or cannot be "
                                               "read",
                                               bad.value_or(0)));
        });
    } else if (task.kind == "prewarm") {
        noted = db::Pool::in_transaction(c, [&](db::Connection& t) -> Result<> {
            GOLDLINK_TRY(db::set_task_progress(t, task.id, progress.total_bytes,
                                               progress.total_bytes, task.message));
            const json::object result{{"prewarmed_bytes", progress.prewarmed_bytes}};
            return end_task_with_findings(t, task, json::serialize(result),
                                          "what boots read is in memory");
        });
    } else if (task.kind == "rebase") {
        if (!progress.rebase.is_object())
            return give_up(c, task, "failed", "the target did not say what it has done");
        noted = db::Pool::in_transaction(c, [&](db::Connection& t) {
            return end_task_with_rebase(t, task, json::serialize(progress.rebase));
        });
    } else if (task.kind == "gc") {
        const auto result = gc_result(progress.gc, task);
        if (!result) return give_up(c, task, "failed", result.error().message);
        noted = db::Pool::in_transaction(c, [&](db::Connection& t) -> Result<> {
            GOLDLINK_TRY(db::set_task_progress(t, task.id, progress.total_bytes,
                                               progress.total_bytes, task.message));
            GOLDLINK_TRY(queue_superseded(t, task));
            return end_task_with_findings(t, task, json::serialize(*result), gc_message(*result));
        });
    } else if (task.kind == "repair") {
        if (!progress.repair.is_object())
            return give_up(c, task, "failed", "the target did not say what it has mended");
        noted = db::Pool::in_transaction(c, [&](db::Connection& t) -> Result<> {
            GOLDLINK_TRY(db::set_task_progress(t, task.id, progress.total_bytes,
                                               progress.total_bytes, task.message));
            return end_task_with_repair(t, task, json::serialize(progress.repair));
        });
    } else {
        MadeVersion made;
        const auto digest = json::string_field(progress.version, "digest", 64, 64);
        const auto size = json::int_field(progress.version, "size_bytes", 0, INT64_MAX);
        const auto stored = json::optional_int(progress.version, "stored_bytes", 0, INT64_MAX);
        if (!digest || !size || !stored)
            return give_up(c, task, "failed", "the target named no version when it was done");
        made = {*digest,       *size,         stored->value_or(0),
                progress.base, progress.live, progress.salvage};
        noted = db::Pool::in_transaction(c, [&](db::Connection& t) -> Result<> {
            GOLDLINK_TRY(db::set_task_progress(t, task.id, progress.total_bytes,
                                               progress.total_bytes, task.message));
            return end_task_with_version(t, task, made);
        });
    }
    if (noted) clean_up(task);
    return noted;
}

Result<> TaskSync::give_up(db::Connection& c, const db::Task& task, const std::string& state,
                           const std::string& said) {
    const std::string why = in_users_words(said, task);
    const auto noted = db::Pool::in_transaction(c, [&](db::Connection& t) -> Result<> {
        GOLDLINK_TRY(queue_superseded(t, task));
        return end_task_without_result(t, task, state, why);
    });
    if (!noted) return noted;
    if (state == "failed") log::warn("{} of {} failed: {}", task.kind, task.subject, why);
    clean_up(task);
    return {};
}

// The target does not know the task any more: it lost its state. Begin again, but not for ever.
Result<> TaskSync::lost(db::Connection& c, const db::Task& task) {
    if (++restarts_[task.id] > kMaxRestarts)
        return give_up(c, task, "failed",
                       "the target forgot it several times; look at the log of goldlink-target");
    log::warn("the target does not know {} {} any more; starting it again", task.kind, task.id);
    return db::set_task_phase(c, task.id, "start", "queued", "starting again");
}

void TaskSync::clean_up(const db::Task& task) {
    restarts_.erase(task.id);
    // What stays because the target is away costs space only: it drops old uploads by itself.
    (void)services_.target.call("DELETE", "/imports/" + task.id);
    if (task.upload) (void)services_.target.call("DELETE", "/uploads/" + *task.upload);
    if (task.upload && task.upload->starts_with("transfer-"))
        (void)services_.target.call("DELETE", "/transfers/" + task.id);
}

// Content that came back since it was deleted, or is coming back, is not removed: garbage.hpp.
Result<> TaskSync::delete_versions(db::Connection& c) {
    GOLDLINK_TRY_ASSIGN(const auto waiting, db::version_deletions(c));
    if (waiting.empty()) return {};
    const auto candidates = garbage_candidates(services_.target);
    if (!candidates) {
        away_ = candidates.error().no_answer();
        if (!away_)
            log::warn("the target does not say what it holds: {}", candidates.error().detail);
        return {};
    }
    GOLDLINK_TRY_ASSIGN(const auto needs, db::registry_needs(c, {}));
    for (const std::string& digest : waiting) {
        if (is_needed(*candidates, needs, digest)) continue;
        const auto answer = services_.target.call(
            "DELETE", fmt::format("/versions/{}?mark={}", digest, candidates->mark), "",
            seconds(30));
        if (answer || answer.error().status == 404) {
            GOLDLINK_TRY(db::forget_version_deletion(c, digest));
            continue;
        }
        if (answer.error().no_answer()) {
            away_ = true;
            return {};
        }
        // 409: a link the registry has just dropped still runs on it; the next round tries again.
        if (answer.error().status != 409)
            log::warn("the target does not delete version {}: {}", digest, answer.error().detail);
    }
    return {};
}

}  // namespace goldlink::manager
