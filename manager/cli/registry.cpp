// goldlink registry: whether the database and the target belong together.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "manager/cli/connect.hpp"
#include "manager/cli/text.hpp"

namespace goldlink::cli {

namespace {

struct Arguments {
    std::int64_t remove = 0;
};

void print_unknown(const json::array& links) {
    if (links.empty()) return;
    print(
        fmt::format("\n{} link{} of the target {} not in this database; adopting it removes "
                    "them, and puts kept disks into the trash:\n",
                    links.size(), links.size() == 1 ? "" : "s", links.size() == 1 ? "is" : "are"));
    Table table({"LINK", "OF", "POLICY", "IN USE", "WRITTEN"});
    for (const auto& link : links) {
        const auto* in_use = member(link, "in_use");
        table.add({text_of(link, "id"), text_of(link, "alias"), text_of(link, "policy"),
                   in_use != nullptr && *in_use == true ? "yes" : "no",
                   format_bytes(static_cast<std::uint64_t>(
                       std::max<std::int64_t>(int_of(link, "used_bytes"), 0)))});
    }
    print(table.to_string());
}

void print_registry(const json::value& registry) {
    const auto line = [](std::string_view label, const std::string& text) {
        print(fmt::format("{:<9} {}\n", label, text.empty() ? "-" : printable(text)));
    };
    line("registry", text_of(registry, "id"));
    line("target", text_of(registry, "target_id"));
    line("revision", std::to_string(int_of(registry, "revision")));
    const auto problem = text_of(registry, "problem");
    line("state", problem.empty() ? text_of(registry, "match") == "own"
                                        ? "the target follows this registry"
                                        : "the target has not been asked yet"
                                  : problem);
    print_unknown(items_of(registry, "unknown_links"));
}

Result<> show_registry(const Session& session, const Arguments&) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(const auto registry, api.get("/registry"));
    if (session.json)
        print_json(registry);
    else
        print_registry(registry);
    return {};
}

Result<> adopt_registry(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    if (arguments.remove == 0 && !session.json) {
        GOLDLINK_TRY_ASSIGN(const auto registry, api.get("/registry"));
        const auto& unknown = items_of(registry, "unknown_links");
        if (!unknown.empty()) {
            print_unknown(unknown);
            return failure(ErrorKind::conflict,
                           fmt::format("nothing is changed yet\n  to do: repeat it with --remove "
                                       "{} if that is meant",
                                       unknown.size()));
        }
    }
    GOLDLINK_TRY_ASSIGN(
        const auto adopted,
        api.post("/registry/adopt", json::object{{"confirm_removals", arguments.remove}}));
    if (session.json)
        print_json(adopted);
    else
        print("this database is the target's registry from now on\n");
    return {};
}

}  // namespace

void add_registry_verbs(CLI::App& root, Session& session) {
    auto& noun = *add_noun(root, "registry", "Whether database and target belong together");
    const auto arguments = std::make_shared<Arguments>();
    const auto verb = [&](const VerbText& text, auto action) {
        return add_verb(noun, session, text,
                        [&session, arguments, action] { return action(session, *arguments); });
    };
    verb({"show", "Show it, and what adopting this database would remove",
          "A target remembers the database whose links it serves. With an empty, another or an "
          "older one it goes\non with what it has, and changes nothing until one is adopted.",
          "goldlink registry show"},
         show_registry);
    auto* adopt = verb(
        {"adopt", "Make this database the target's registry",
         "Links that the target has and this database does not are removed there; what was written "
         "to their\nkept disks goes to the trash. Says first how many that are, and wants the "
         "number repeated.",
         "goldlink registry adopt\ngoldlink registry adopt --remove 6"},
        adopt_registry);
    adopt->add_option("--remove", arguments->remove, "How many links may be removed by that")
        ->type_name("N")
        ->check(CLI::Range(std::int64_t{1}, std::int64_t{1'000'000}));
}

}  // namespace goldlink::cli
