// goldlink group: defaults that clients share.
#include <fmt/format.h>

#include <memory>

#include "manager/cli/connect.hpp"
#include "manager/cli/text.hpp"

namespace goldlink::cli {

namespace {

struct Arguments {
    std::string name;
    std::string image;
    std::string policy;
    std::string pattern;
    bool no_image = false;
};

std::string group_path(const std::string& name) { return "/groups/" + http::percent_encode(name); }

json::object defaults_of(const Arguments& arguments) {
    json::object body;
    if (!arguments.image.empty()) body["image"] = arguments.image;
    if (arguments.no_image) body["image"] = nullptr;
    if (!arguments.policy.empty()) body["policy"] = arguments.policy;
    if (!arguments.pattern.empty()) body["naming_pattern"] = arguments.pattern;
    return body;
}

void print_groups(const json::array& groups) {
    Table table({"NAME", "IMAGE", "POLICY", "NAMES", "CLIENTS"});
    for (const auto& group : groups)
        table.add({text_of(group, "name"), text_of(group, "image"), text_of(group, "policy"),
                   text_of(group, "naming_pattern"),
                   std::to_string(int_of(group, "client_count"))});
    print(table.to_string());
}

Result<> add_group(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    auto body = defaults_of(arguments);
    body["name"] = arguments.name;
    GOLDLINK_TRY_ASSIGN(auto group, api.post("/groups", body));
    if (session.json)
        print_json(group);
    else
        print(fmt::format("added {}\n", arguments.name));
    return {};
}

Result<> list_groups(const Session& session, const Arguments&) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(auto groups, api.list("/groups"));
    if (session.json)
        print_json(groups);
    else if (groups.empty())
        print_note("no groups: goldlink group add NAME --image IMAGE\n");
    else
        print_groups(groups);
    return {};
}

Result<> show_group(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(auto group, api.get(group_path(arguments.name)));
    if (session.json)
        print_json(group);
    else
        print_groups({group});
    return {};
}

Result<> set_group(const Session& session, const Arguments& arguments) {
    const auto body = defaults_of(arguments);
    if (body.empty())
        return failure(ErrorKind::invalid, "nothing to change: see 'goldlink group set --help'");
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(auto group, api.patch(group_path(arguments.name), body));
    if (session.json)
        print_json(group);
    else
        print(fmt::format("changed {}\n", arguments.name));
    return {};
}

Result<> remove_group(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY(api.remove(group_path(arguments.name)));
    if (session.json)
        print_json({{"removed", arguments.name}});
    else
        print(fmt::format("removed {}\n", arguments.name));
    return {};
}

}  // namespace

void add_group_verbs(CLI::App& root, Session& session) {
    auto& noun = *add_noun(root, "group", "Defaults that clients share");
    const auto arguments = std::make_shared<Arguments>();
    const auto verb = [&](VerbText text, Result<> (*action)(const Session&, const Arguments&)) {
        return add_verb(noun, session, text,
                        [&session, arguments, action] { return action(session, *arguments); });
    };
    const auto named = [&](CLI::App* app) {
        app->add_option("NAME", arguments->name, "The group's name")->required();
        return app;
    };
    const auto with_defaults = [&](CLI::App* app) {
        auto* image = app->add_option("--image", arguments->image, "What its new clients boot")
                          ->type_name("REF")
                          ->check(check_image_ref);
        app->add_option("--policy", arguments->policy,
                        "discard: fresh at every boot; keep: persists")
            ->check(CLI::IsMember({"discard", "keep", "super"}));
        app->add_option("--names", arguments->pattern, "Names of machines that register themselves")
            ->type_name("PATTERN");
        return image;
    };
    with_defaults(named(verb(
        {"add", "Make a group", "", "goldlink group add lab --image win11 --names 'LAB-{n:03}'"},
        add_group)));
    verb({"ls", "List groups", "", "goldlink group ls"}, list_groups);
    named(verb({"show", "Show a group", "", "goldlink group show lab"}, show_group));
    auto* set = named(
        verb({"set", "Change a group's defaults", "Links that exist already stay as they are.",
              "goldlink group set lab --image win11:test\ngoldlink group set lab --policy keep"},
             set_group));
    auto* image = with_defaults(set);
    set->add_flag("--no-image", arguments->no_image, "New clients get no link")->excludes(image);
    named(
        verb({"rm", "Remove a group", "Refused while clients are in it.", "goldlink group rm lab"},
             remove_group));
}

}  // namespace goldlink::cli
