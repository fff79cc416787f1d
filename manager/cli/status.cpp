// goldlink status: whether the parts work, and the room's totals.
#include <fmt/format.h>

#include <algorithm>

#include "manager/cli/connect.hpp"
#include "manager/cli/text.hpp"

namespace goldlink::cli {

namespace {

// What keeps the target from using its image store, or from writing to it.
std::string store_problem(const json::value& status) {
    const json::value* const target = member(status, "target");
    const json::value* const store = target == nullptr ? nullptr : member(*target, "store");
    return store == nullptr ? std::string() : text_of(*store, "problem");
}

void line(std::string_view label, const std::string& text) {
    print(fmt::format("{:<9} {}\n", label, text.empty() ? "-" : printable(text)));
}

void show_problems(const json::value& health) {
    for (const json::value& problem : items_of(health, "problems")) {
        line("problem",
             fmt::format("{}: {}", text_of(problem, "source"), text_of(problem, "problem")));
        line("  to do", text_of(problem, "to_do"));
    }
}

void show_totals(const json::value& status) {
    const auto bytes = [&](const char* name) {
        return has_value(status, name) ? format_bytes(static_cast<std::uint64_t>(
                                             std::max<std::int64_t>(int_of(status, name), 0)))
                                       : std::string();
    };
    line("portal", text_of(status, "portal"));
    line("room", fmt::format("{} clients, {} links, {} sessions, {} images",
                             int_of(status, "clients"), int_of(status, "links"),
                             int_of(status, "sessions"), int_of(status, "images")));
    if (const auto problem = store_problem(status); !problem.empty()) line("store", problem);
    if (has_value(status, "store_free_bytes"))
        line("free", fmt::format("{} for images, {} for overlays", bytes("store_free_bytes"),
                                 bytes("overlay_free_bytes")));
}

Result<> show_status(const Session& session) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(const auto health, api.health());
    // Without its database the manager can only say that again, after as long a wait.
    Result<json::value> status = json::value(nullptr);
    if (text_of(health, "database") == "ok") status = api.get("/status");
    if (session.json) {
        json::object both{{"health", health}};
        both["status"] = status ? *status : json::value(nullptr);
        print_json(both);
    } else {
        line("manager", fmt::format("{} at {}, version {}", text_of(health, "status"), api.url(),
                                    text_of(health, "version")));
        for (const char* part : {"database", "registry", "target", "pxe"})
            line(part, text_of(health, part));
        if (status && !status->is_null()) show_totals(*status);
        show_problems(health);
    }
    if (!status) return Failure(std::move(status).error());
    if (text_of(health, "status") != "ok")
        return failure(ErrorKind::unavailable,
                       "not all parts work; what does not, and what to do, is said above");
    return {};
}

}  // namespace

void add_status_verbs(CLI::App& root, Session& session) {
    add_verb(
        root, session,
        {"status", "Show whether the parts work, and the room's totals",
         "It ends with 1 when something does not work; each problem is named with the way out.",
         "goldlink status\ngoldlink status --json"},
        [&session] { return show_status(session); });
}

}  // namespace goldlink::cli
