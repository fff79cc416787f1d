// goldlink trash: kept disks of links that were removed, for some days.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <vector>

#include "manager/cli/connect.hpp"
#include "manager/cli/text.hpp"

namespace goldlink::cli {

namespace {

struct Arguments {
    std::string id;
    std::vector<std::string> ids;
    std::string client;
};

std::string entry_path(const std::string& id) { return "/trash/" + http::percent_encode(id); }

std::string owner_cell(const json::value& entry) {
    return text_of(entry, "alias", "link " + text_of(entry, "link_id").substr(0, 8));
}

// "win11@7 keep, LUN 1 games@2 keep"
std::string disks_cell(const json::value& entry) {
    std::string cell;
    for (const auto& disk : items_of(entry, "disks")) {
        if (const auto* kept = member(disk, "kept"); kept == nullptr || *kept != true) continue;
        const auto lun = int_of(disk, "lun");
        cell += fmt::format(
            "{}{}{} {}", cell.empty() ? "" : ", ", lun == 0 ? "" : fmt::format("LUN {} ", lun),
            has_value(disk, "image")
                ? fmt::format("{}@{}", text_of(disk, "image"), int_of(disk, "version"))
                : "a version that is gone",
            text_of(disk, "policy"));
    }
    return cell.empty() ? text_of(entry, "problem", "not known") : cell;
}

// Unix time as how long it is from now.
std::string age_cell(const json::value& entry, std::string_view name) {
    if (!has_value(entry, name)) return "-";
    const auto now = std::chrono::duration_cast<std::chrono::seconds>(
                         std::chrono::system_clock::now().time_since_epoch())
                         .count();
    return format_age(std::chrono::seconds(std::abs(int_of(entry, name) - now)));
}

Result<> list_trash(const Session& session, const Arguments&) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(const auto entries, api.list("/trash"));
    if (session.json) {
        print_json(entries);
        return {};
    }
    if (entries.empty()) {
        print_note(
            "the trash is empty: removed links with policy keep or super leave their disk "
            "here\n");
        return {};
    }
    Table table({"ID", "OF", "DISKS", "SPACE", "REMOVED", "GONE IN"});
    for (const auto& entry : entries)
        table.add({text_of(entry, "id"), owner_cell(entry), disks_cell(entry),
                   format_bytes(static_cast<std::uint64_t>(
                       std::max<std::int64_t>(int_of(entry, "bytes"), 0))),
                   age_cell(entry, "removed_at") + " ago", age_cell(entry, "expires_at")});
    print(table.to_string());
    return {};
}

Result<> restore_entry(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    json::object body;
    if (!arguments.client.empty()) body["client"] = arguments.client;
    GOLDLINK_TRY_ASSIGN(const auto restored, api.post(entry_path(arguments.id) + "/restore", body));
    if (session.json)
        print_json(restored);
    else
        print(fmt::format("{} has its disk again: link {}\n", text_of(restored, "client"),
                          text_of(restored, "link_id")));
    return {};
}

Result<> empty_trash(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    std::vector<std::string> ids = arguments.ids;
    if (ids.empty()) {
        GOLDLINK_TRY_ASSIGN(const auto entries, api.list("/trash"));
        for (const auto& entry : entries) ids.push_back(text_of(entry, "id"));
    }
    for (const std::string& id : ids) GOLDLINK_TRY(api.remove(entry_path(id)));
    if (session.json)
        print_json(json::object{{"removed", json::array(ids.begin(), ids.end())}});
    else
        print(ids.empty() ? "the trash was empty\n"
                          : fmt::format("{} {} gone for good\n", ids.size(),
                                        ids.size() == 1 ? "disk is" : "disks are"));
    return {};
}

}  // namespace

void add_trash_verbs(CLI::App& root, Session& session) {
    auto& noun = *add_noun(root, "trash", "Kept disks of links that were removed");
    const auto arguments = std::make_shared<Arguments>();
    const auto verb = [&](const VerbText& text, auto action) {
        return add_verb(noun, session, text,
                        [&session, arguments, action] { return action(session, *arguments); });
    };
    verb({"ls", "List them",
          "What was written to a link of policy keep or super stays here for some days after the "
          "link was\nremoved (goldlink up --trash-days).",
          "goldlink trash ls"},
         list_trash);
    auto* restore =
        verb({"restore", "Give a client its disk back",
              "The client must be there and have no link. Without --client it is the one that had "
              "the disk.",
              "goldlink trash restore 3f0c...\ngoldlink trash restore 3f0c... --client PC-007"},
             restore_entry);
    restore->add_option("ID", arguments->id, "The entry's id: 'goldlink trash ls'")->required();
    restore->add_option("--client", arguments->client, "Who gets it")->type_name("NAME");
    auto* empty = verb({"empty", "Delete them for good", "Without an id all of them.",
                        "goldlink trash empty 3f0c...\ngoldlink trash empty"},
                       empty_trash);
    empty->add_option("ID", arguments->ids, "Entries' ids: 'goldlink trash ls'");
}

}  // namespace goldlink::cli
