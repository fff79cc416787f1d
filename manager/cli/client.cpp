// goldlink client: the room's machines and their boots.
#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <vector>

#include "common/file.hpp"
#include "manager/cli/connect.hpp"
#include "manager/cli/text.hpp"
#include "manager/cli/timeline.hpp"

namespace goldlink::cli {

namespace {

constexpr std::size_t kMaxCsvBytes = 1 << 20;

struct Arguments {
    std::string name;
    std::string new_name;
    std::vector<std::string> macs;
    std::string group;
    std::string note;
    std::string state;
    std::string file;
    bool dry_run = false;
    bool no_group = false;
};

std::string client_path(const std::string& name) {
    return "/clients/" + http::percent_encode(name);
}

std::string join(const json::array& values) {
    std::string out;
    for (const auto& value : values) {
        if (!value.is_string()) continue;
        if (!out.empty()) out += ' ';
        out += std::string(value.as_string());
    }
    return out;
}

json::array to_array(const std::vector<std::string>& values) {
    json::array out;
    for (const auto& value : values) out.emplace_back(value);
    return out;
}

// "running, 3 min ago"
std::string boot_cell(const json::value& client) {
    const auto* boot = member(client, "last_boot");
    if (boot == nullptr || boot->is_null()) return "";
    const auto state = text_of(*boot, "state");
    const auto started = parse_time(text_of(*boot, "started_at"));
    if (!started) return state;
    const auto age = std::chrono::duration_cast<std::chrono::seconds>(
        std::chrono::system_clock::now() - *started);
    return fmt::format("{}, {} ago", state, format_age(age));
}

void print_client(const json::value& client) {
    const auto line = [](std::string_view label, const std::string& text) {
        if (!text.empty()) print(fmt::format("{:<9} {}\n", label, printable(text)));
    };
    line("client", text_of(client, "name"));
    line("mac", join(items_of(client, "macs")));
    line("group", text_of(client, "group"));
    line("state", text_of(client, "state"));
    line("image", text_of(client, "image"));
    line("policy", text_of(client, "policy"));
    line("link", text_of(client, "link_id"));
    line("note", text_of(client, "note"));
}

void print_result(const Session& session, const json::value& client, std::string_view done) {
    if (session.json)
        print_json(client);
    else
        print(fmt::format("{} {}\n", done, printable(text_of(client, "name"))));
}

Result<> add_client(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    json::object body{{"name", arguments.name}, {"macs", to_array(arguments.macs)}};
    if (!arguments.group.empty()) body["group"] = arguments.group;
    if (!arguments.note.empty()) body["note"] = arguments.note;
    GOLDLINK_TRY_ASSIGN(auto client, api.post("/clients", body));
    print_result(session, client, "added");
    if (!session.json && !has_value(client, "link_id"))
        print_note(
            fmt::format("it boots its local disk until it has a link: goldlink link create "
                        "--client {} --image NAME\n",
                        arguments.name));
    return {};
}

Result<> import_clients(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto csv, read_file(arguments.file, kMaxCsvBytes));
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(
        auto result,
        api.post_text("/clients/import" + query({{"dry_run", arguments.dry_run ? "true" : ""}}),
                      "text/csv", std::move(csv)));
    if (session.json) print_json(result);
    const auto& errors = items_of(result, "errors");
    if (!errors.empty()) {
        std::string message = fmt::format("{}: nothing was added, because of", arguments.file);
        constexpr std::size_t kMostShown = 20;
        for (std::size_t i = 0; i < errors.size() && i < kMostShown; ++i)
            message += fmt::format("\n  line {}: {}", int_of(errors[i], "line"),
                                   printable(text_of(errors[i], "message")));
        if (errors.size() > kMostShown)
            message += fmt::format("\n  and {} more", errors.size() - kMostShown);
        return failure(ErrorKind::invalid, message);
    }
    if (!session.json) {
        const auto& added = items_of(result, "added");
        print(fmt::format("{} {} client{}\n", arguments.dry_run ? "would add" : "added",
                          added.size(), added.size() == 1 ? "" : "s"));
    }
    return {};
}

Result<> list_clients(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(
        auto clients,
        api.list("/clients" + query({{"group", arguments.group}, {"state", arguments.state}})));
    if (session.json) {
        print_json(clients);
        return {};
    }
    if (clients.empty()) {
        print_note("no clients: goldlink client add NAME --mac M\n");
        return {};
    }
    Table table({"NAME", "MAC", "GROUP", "STATE", "IMAGE", "POLICY", "LAST BOOT"});
    for (const auto& client : clients)
        table.add({text_of(client, "name"), join(items_of(client, "macs")),
                   text_of(client, "group"), text_of(client, "state"), text_of(client, "image"),
                   text_of(client, "policy"), boot_cell(client)});
    print(table.to_string());
    return {};
}

Result<> show_client(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(auto client, api.get(client_path(arguments.name)));
    if (session.json) {
        print_json(client);
        return {};
    }
    print_client(client);
    const auto* boot = member(client, "last_boot");
    if (boot == nullptr || boot->is_null())
        print("boot      none seen yet\n");
    else
        print(draw_timeline(*boot));
    return {};
}

Result<> list_boots(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(auto page, api.get(client_path(arguments.name) + "/boots?limit=20"));
    if (session.json) {
        print_json(items_of(page, "items"));
        return {};
    }
    Table table({"STARTED", "STATE", "FIRMWARE", "ADDRESS", "LAST STAGE", "AFTER", "PROBLEM"});
    for (const auto& boot : items_of(page, "items")) {
        const auto& stages = items_of(boot, "stages");
        const json::value last = stages.empty() ? json::value(nullptr) : stages[stages.size() - 1];
        table.add({format_time(text_of(boot, "started_at")), text_of(boot, "state"),
                   text_of(boot, "firmware"), text_of(boot, "address"), text_of(last, "stage"),
                   stages.empty()
                       ? ""
                       : format_duration(std::chrono::milliseconds(int_of(last, "after_ms"))),
                   text_of(boot, "problem")});
    }
    print(table.empty() ? "none seen yet\n" : table.to_string());
    return {};
}

Result<> set_client(const Session& session, const Arguments& arguments) {
    json::object body;
    if (!arguments.new_name.empty()) body["name"] = arguments.new_name;
    if (!arguments.macs.empty()) body["macs"] = to_array(arguments.macs);
    if (!arguments.group.empty()) body["group"] = arguments.group;
    if (arguments.no_group) body["group"] = nullptr;
    if (!arguments.note.empty()) body["note"] = arguments.note;
    if (body.empty())
        return failure(ErrorKind::invalid, "nothing to change: see 'goldlink client set --help'");
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(auto client, api.patch(client_path(arguments.name), body));
    print_result(session, client, "changed");
    return {};
}

Result<> approve_client(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(auto client,
                        api.post(client_path(arguments.name) + "/approve", json::object()));
    print_result(session, client, "approved");
    return {};
}

Result<> remove_client(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY(api.remove(client_path(arguments.name)));
    print_result(session, {{"name", arguments.name}}, "removed");
    return {};
}

Result<> wake_client(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(auto woken,
                        api.post(client_path(arguments.name) + "/wake", json::object()));
    if (session.json)
        print_json(woken);
    else
        print(fmt::format("sent Wake-on-LAN to {}\n", printable(join(items_of(woken, "macs")))));
    return {};
}

// What POST /links takes of the client's disks beside image and policy of LUN 0.
Result<> copy_disks(Api& api, const json::value& client, json::object& body) {
    const auto link_id = text_of(client, "link_id");
    if (link_id.empty()) return {};
    GOLDLINK_TRY_ASSIGN(const auto link, api.get("/links/" + http::percent_encode(link_id)));
    json::array disks;
    for (const auto& disk : items_of(link, "disks")) {
        const bool native_4k = int_of(disk, "logical_block_bytes") == 4096;
        if (int_of(disk, "lun") == 0) {
            if (native_4k) body["logical_block_bytes"] = 4096;
            if (has_value(disk, "quota_bytes")) body["quota_bytes"] = int_of(disk, "quota_bytes");
            continue;
        }
        const auto channel = text_of(disk, "channel");
        const auto image = text_of(disk, "image");
        json::object copied{{"lun", int_of(disk, "lun")}, {"policy", text_of(disk, "policy")}};
        copied["image"] = channel.empty() ? fmt::format("{}@{}", image, int_of(disk, "version"))
                                          : fmt::format("{}:{}", image, channel);
        if (has_value(disk, "quota_bytes")) copied["quota_bytes"] = int_of(disk, "quota_bytes");
        if (native_4k) copied["logical_block_bytes"] = 4096;
        disks.push_back(std::move(copied));
    }
    if (!disks.empty()) body["disks"] = std::move(disks);
    return {};
}

// The new client's link as the existing one has it. A group may have given it one already.
Result<> copy_link(Api& api, const json::value& source, const json::value& created) {
    const auto image = text_of(source, "image");
    const auto policy = text_of(source, "policy");
    if (image.empty()) return {};
    json::object body{{"client", text_of(created, "name")}, {"image", image}, {"policy", policy}};
    const std::size_t plain = body.size();
    GOLDLINK_TRY(copy_disks(api, source, body));
    if (const auto link = text_of(created, "link_id"); !link.empty()) {
        if (body.size() == plain && text_of(created, "image") == image &&
            text_of(created, "policy") == policy)
            return {};
        GOLDLINK_TRY(api.remove("/links/" + http::percent_encode(link)));
    }
    GOLDLINK_TRY(api.post("/links", body));
    return {};
}

Result<> copy_client(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(const auto source, api.get(client_path(arguments.name)));
    json::object body{{"name", arguments.new_name}, {"macs", to_array(arguments.macs)}};
    if (const auto group = text_of(source, "group"); !group.empty()) body["group"] = group;
    if (const auto note = text_of(source, "note"); !note.empty()) body["note"] = note;
    GOLDLINK_TRY_ASSIGN(const auto created, api.post("/clients", body));
    if (auto linked = copy_link(api, source, created); !linked)
        return Failure(std::move(linked).error().with_context(
            fmt::format("{} was added, but gets no link", arguments.new_name)));
    GOLDLINK_TRY_ASSIGN(auto client, api.get(client_path(arguments.new_name)));
    print_result(session, client, "added");
    return {};
}

}  // namespace

void add_client_verbs(CLI::App& root, Session& session) {
    auto& noun = *add_noun(root, "client", "The room's machines and their boots");
    const auto arguments = std::make_shared<Arguments>();
    const auto verb = [&](VerbText text, Result<> (*action)(const Session&, const Arguments&)) {
        return add_verb(noun, session, text,
                        [&session, arguments, action] { return action(session, *arguments); });
    };
    const auto named = [&](CLI::App* app) {
        app->add_option("NAME", arguments->name, "The client's name")->required();
        return app;
    };
    const auto with_macs = [&](CLI::App* app) {
        return app->add_option("--mac", arguments->macs, "Its network card; repeat for several")
            ->check(check_mac)
            ->type_name("MAC")
            ->take_all()
            ->expected(1);
    };

    auto* add = named(verb(
        {"add", "Add a client", "A client of a group with an image gets its link from the group.",
         "goldlink client add PC-001 --mac 52:54:00:12:34:56\n"
         "goldlink client add PC-002 --mac 52-54-00-12-34-57 --group lab"},
        add_client));
    with_macs(add)->required();
    add->add_option("--group", arguments->group, "The group it joins")->type_name("GROUP");
    add->add_option("--note", arguments->note, "Where it stands, for example")->type_name("TEXT");

    auto* import =
        verb({"import", "Add many clients from a CSV file, all or none",
              "The file's first line is 'name,mac,group'; group may be empty.",
              "goldlink client import room.csv --dry-run\ngoldlink client import room.csv"},
             import_clients);
    import->add_option("FILE", arguments->file, "The CSV file")->required();
    import->add_flag("--dry-run", arguments->dry_run, "Only say what would happen");

    auto* list = verb({"ls", "List clients with their last boot", "",
                       "goldlink client ls\ngoldlink client ls --state pending"},
                      list_clients);
    list->add_option("--group", arguments->group, "Only those of a group")->type_name("GROUP");
    list->add_option("--state", arguments->state, "Only those in a state")
        ->check(CLI::IsMember({"approved", "pending"}));

    named(verb({"show", "Show a client and its last boot, stage by stage", "",
                "goldlink client show PC-001"},
               show_client));
    named(verb({"boots", "List a client's last 20 boots", "", "goldlink client boots PC-001"},
               list_boots));

    auto* set = named(verb({"set", "Rename, regroup, change MACs or note", "",
                            "goldlink client set PC-001 --name FRONT-1\n"
                            "goldlink client set PC-001 --mac 52:54:00:12:34:99"},
                           set_client));
    set->add_option("--name", arguments->new_name, "New name")->type_name("NAME");
    with_macs(set);
    auto* group = set->add_option("--group", arguments->group, "New group")->type_name("GROUP");
    set->add_flag("--no-group", arguments->no_group, "Take it out of its group")->excludes(group);
    set->add_option("--note", arguments->note, "New note")->type_name("TEXT");

    auto* copy =
        named(verb({"copy", "Add a client like an existing one",
                    "Group, note, images and policies are taken over; the overlays are not.",
                    "goldlink client copy PC-001 PC-002 --mac 52:54:00:12:34:57"},
                   copy_client));
    copy->add_option("NEW", arguments->new_name, "The new client's name")->required();
    with_macs(copy)->required();

    named(verb({"approve", "Take a machine that booted unknown into the room", "",
                "goldlink client ls --state pending\ngoldlink client approve PC-007"},
               approve_client));
    named(verb({"wake", "Switch a client on by Wake-on-LAN", "", "goldlink client wake PC-001"},
               wake_client));
    named(
        verb({"rm", "Remove a client", "Refused while it has a link: 'goldlink link rm ID' first.",
              "goldlink client rm PC-001"},
             remove_client));
}

}  // namespace goldlink::cli
