// goldlink gc: gives back the space of what nobody wants.
#include <fmt/format.h>

#include <memory>

#include "manager/cli/connect.hpp"
#include "manager/cli/text.hpp"

namespace goldlink::cli {

namespace {

struct Arguments {
    bool dry_run = false;
    std::int64_t keep_versions = 0;  // 0: all
};

std::string bytes_cell(const json::value& object, std::string_view name) {
    if (!has_value(object, name)) return "";
    return format_bytes(
        static_cast<std::uint64_t>(std::max<std::int64_t>(int_of(object, name), 0)));
}

// "free_space" as people say it.
std::string kind_cell(const json::value& item) {
    std::string kind = text_of(item, "kind");
    std::replace(kind.begin(), kind.end(), '_', ' ');
    return kind;
}

void print_garbage(const json::value& garbage, bool dry_run) {
    const auto& items = items_of(garbage, "items");
    if (!items.empty()) {
        Table table({"KIND", "WHAT", "SPACE", "IT ALONE", "WHY"});
        for (const auto& item : items)
            table.add({kind_cell(item), text_of(item, "name"), bytes_cell(item, "bytes"),
                       bytes_cell(item, "own_bytes"), text_of(item, "reason")});
        print(table.to_string());
    }
    if (items.empty())
        print(dry_run ? "nothing would go: all that is stored is wanted\n"
                      : "nothing went: all that is stored is wanted\n");
    else
        print(fmt::format("{} {}: {} thing{}\n", bytes_cell(garbage, "bytes"),
                          dry_run ? "would come back" : "came back", items.size(),
                          items.size() == 1 ? "" : "s"));
    for (const auto& kept : items_of(garbage, "kept"))
        print_note(fmt::format("{} {} stays for now: {}\n", kind_cell(kept),
                               printable(text_of(kept, "name")), printable(text_of(kept, "why"))));
}

Result<> collect(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    json::object body{{"dry_run", arguments.dry_run}};
    if (arguments.keep_versions > 0) body["keep_versions"] = arguments.keep_versions;
    GOLDLINK_TRY_ASSIGN(auto answer, api.post("/gc", body));
    if (arguments.dry_run) {
        if (session.json)
            print_json(answer);
        else
            print_garbage(answer, true);
        return {};
    }
    GOLDLINK_TRY_ASSIGN(auto done, follow_task(api, std::move(answer), "giving space back"));
    if (session.json)
        print_json(done);
    else if (const auto* result = member(done, "result"))
        print_garbage(*result, false);
    return {};
}

}  // namespace

void add_gc_verb(CLI::App& root, Session& session) {
    const auto arguments = std::make_shared<Arguments>();
    auto* verb = add_verb(
        root, session,
        {"gc", "Give back the space of what nobody wants",
         "What an import, commit, transfer or export that did not end well has left at the "
         "target,\n"
         "versions that no image has, and space of the store that is free but was never given "
         "back.\n"
         "Clients run on meanwhile. Versions of images stay, unless --keep-versions says how many\n"
         "of each image: then those also go that are older, and that no channel, link, group or\n"
         "task uses. IT ALONE is what only that version has; SPACE is what comes back with it "
         "when\n"
         "those above it have gone.",
         "goldlink gc --dry-run\ngoldlink gc\ngoldlink gc --keep-versions 5 --dry-run"},
        [&session, arguments] { return collect(session, *arguments); });
    verb->add_flag("--dry-run", arguments->dry_run, "Show what would go, and change nothing");
    verb->add_option("--keep-versions", arguments->keep_versions,
                     "Of each image keep the N newest, and those in use; without it all")
        ->type_name("N")
        ->check(CLI::Range(std::int64_t{1}, std::int64_t{10'000}));
}

}  // namespace goldlink::cli
