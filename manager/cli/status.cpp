// goldlink status: whether the parts work, and the room's totals.
#include <fmt/format.h>

#include <algorithm>

#include "manager/cli/connect.hpp"
#include "manager/cli/text.hpp"

namespace goldlink::cli {

namespace {

Result<> show_status(const Session& session) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(const auto health, api.health());
    auto status = api.get("/status");
    if (session.json) {
        json::object both{{"health", health}};
        both["status"] = status ? *status : json::value(nullptr);
        print_json(both);
    } else {
        const auto line = [](std::string_view label, const std::string& text) {
            print(fmt::format("{:<9} {}\n", label, text.empty() ? "-" : printable(text)));
        };
        line("manager", fmt::format("{} at {}, version {}", text_of(health, "status"), api.url(),
                                    text_of(health, "version")));
        for (const char* part : {"database", "target", "pxe"}) line(part, text_of(health, part));
        if (status) {
            const auto bytes = [&](const char* name) {
                return has_value(*status, name)
                           ? format_bytes(static_cast<std::uint64_t>(
                                 std::max<std::int64_t>(int_of(*status, name), 0)))
                           : std::string();
            };
            line("portal", text_of(*status, "portal"));
            line("room", fmt::format("{} clients, {} links, {} sessions, {} images",
                                     int_of(*status, "clients"), int_of(*status, "links"),
                                     int_of(*status, "sessions"), int_of(*status, "images")));
            line("free", fmt::format("{} for images, {} for overlays", bytes("store_free_bytes"),
                                     bytes("overlay_free_bytes")));
        }
    }
    if (!status) return Failure(std::move(status).error());
    return {};
}

}  // namespace

void add_status_verbs(CLI::App& root, Session& session) {
    add_verb(root, session,
             {"status", "Show whether the parts work, and the room's totals", "",
              "goldlink status\ngoldlink status --json"},
             [&session] { return show_status(session); });
}

}  // namespace goldlink::cli
