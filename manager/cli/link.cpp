// goldlink link: what a client, or a lease, boots.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "manager/cli/connect.hpp"
#include "manager/cli/link_disk.hpp"
#include "manager/cli/link_verbs.hpp"
#include "manager/cli/text.hpp"

namespace goldlink::cli {

namespace {

struct Arguments {
    std::string id;
    std::string client;
    std::string lease;
    std::string image;
    std::string policy;
    std::string note;
    std::string channel;
    std::string new_image;
    std::string quota;
    std::vector<std::string> disks;
    std::optional<std::int64_t> lun;
    std::optional<std::int64_t> files;
    bool usage = false;
    bool force = false;
    bool sibling = false;
    bool native_4k = false;
    bool install = false;
};

std::string link_path(const std::string& id) { return "/links/" + http::percent_encode(id); }

// "win11:production (7)" or "win11@7"
std::string image_cell(const json::value& link) {
    const auto channel = text_of(link, "channel");
    const auto image = text_of(link, "image");
    const auto version = int_of(link, "version");
    return channel.empty() ? fmt::format("{}@{}", image, version)
                           : fmt::format("{}:{} ({})", image, channel, version);
}

// The client's name, or how long the lease has to live.
std::string owner_cell(const json::value& link) {
    if (const auto client = text_of(link, "client"); !client.empty()) return client;
    const auto ends = parse_time(text_of(link, "lease_expires_at"));
    if (!ends) return "lease";
    const auto left =
        std::chrono::duration_cast<std::chrono::seconds>(*ends - std::chrono::system_clock::now());
    return left.count() <= 0 ? "lease, ended" : fmt::format("lease, {} left", format_age(left));
}

std::string overlay_cell(const json::value& link) {
    const auto* overlay = member(link, "overlay");
    if (overlay == nullptr || overlay->is_null()) return "";
    const auto bytes = [&](const char* name) {
        return format_bytes(
            static_cast<std::uint64_t>(std::max<std::int64_t>(int_of(*overlay, name), 0)));
    };
    return has_value(*overlay, "quota_bytes") ? bytes("used_bytes") + " of " + bytes("quota_bytes")
                                              : bytes("used_bytes");
}

// "LUN 1    games:production (2), keep, 4.0 KiB of 1.0 GiB"
std::string disk_cell(const json::value& disk) {
    if (text_of(disk, "type") == "cdrom") return image_cell(disk) + ", CD-ROM";
    const auto overlay = overlay_cell(disk);
    return fmt::format("{}, {}{}{}", image_cell(disk), text_of(disk, "policy"),
                       int_of(disk, "logical_block_bytes") == 4096 ? ", 4Kn" : "",
                       overlay.empty() ? "" : ", " + overlay);
}

// What a disk that keeps its changes has not followed its channel to; "" when there is nothing.
std::string newer_version(const json::value& link, const json::value& disk) {
    const std::int64_t now = int_of(disk, "channel_version");
    if (text_of(disk, "policy") == "discard" || now <= 0 || now == int_of(disk, "version"))
        return "";
    return fmt::format(
        "{}:{} is @{} now, LUN {} stays on @{}: goldlink link rebase {}{}", text_of(disk, "image"),
        text_of(disk, "channel"), now, int_of(disk, "lun"), int_of(disk, "version"),
        text_of(link, "id"),
        items_of(link, "disks").size() > 1 ? fmt::format(" --lun {}", int_of(disk, "lun")) : "");
}

void print_link(const json::value& link) {
    const auto line = [](std::string_view label, const std::string& text) {
        if (!text.empty()) print(fmt::format("{:<9} {}\n", label, printable(text)));
    };
    line("link", text_of(link, "id"));
    line(has_value(link, "client") ? "client" : "lease", owner_cell(link));
    line("image", image_cell(link));
    line("policy", text_of(link, "policy"));
    line("state", text_of(link, "state"));
    line("problem", text_of(link, "problem"));
    line("overlay", overlay_cell(link));
    line("iqn", text_of(link, "iqn"));
    line("portal", fmt::format("{}, LUN {}", text_of(link, "portal"), int_of(link, "lun")));
    line("username", text_of(link, "username"));
    line("secret", text_of(link, "secret"));
    line("url", text_of(link, "url"));
    const auto disks = items_of(link, "disks");
    for (const auto& disk : disks) {
        if (disks.size() > 1) line(fmt::format("lun {}", int_of(disk, "lun")), disk_cell(disk));
        if (const auto problem = text_of(disk, "problem"); !problem.empty())
            line("problem", fmt::format("LUN {}: {}", int_of(disk, "lun"), problem));
        line("newer", newer_version(link, disk));
    }
    if (const auto* install = member(link, "install"); install != nullptr && *install == true)
        line("starts",
             "the CD-ROM, with LUN 0 attached; 'goldlink link set ID --no-install' ends it");
    for (const auto& session : items_of(link, "sessions"))
        line("session",
             fmt::format("{} from {} since {}", text_of(session, "initiator_name"),
                         text_of(session, "address"), format_time(text_of(session, "since"))));
}

Result<json::array> disks_body(const std::vector<std::string>& texts) {
    json::array disks;
    for (const std::string& text : texts) {
        GOLDLINK_TRY_ASSIGN(const LinkDisk disk, parse_link_disk(text));
        json::object o{{"lun", disk.lun}, {"image", disk.image}};
        if (!disk.policy.empty()) o["policy"] = disk.policy;
        if (disk.native_4k) o["logical_block_bytes"] = 4096;
        if (disk.quota_bytes) o["quota_bytes"] = *disk.quota_bytes;
        disks.push_back(std::move(o));
    }
    return disks;
}

Result<> create_link(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    json::object body{{"image", arguments.image}};
    if (!arguments.client.empty()) body["client"] = arguments.client;
    if (!arguments.lease.empty()) body["lease"] = arguments.lease;
    if (!arguments.policy.empty()) body["policy"] = arguments.policy;
    if (arguments.native_4k) body["logical_block_bytes"] = 4096;
    if (!arguments.quota.empty()) {
        GOLDLINK_TRY_ASSIGN(const auto quota, parse_quota(arguments.quota));
        if (quota) body["quota_bytes"] = *quota;
    }
    if (arguments.install) body["install"] = true;
    if (!arguments.disks.empty()) {
        GOLDLINK_TRY_ASSIGN(body["disks"], disks_body(arguments.disks));
    }
    GOLDLINK_TRY_ASSIGN(auto link, api.post("/links", body));
    if (session.json)
        print_json(link);
    else
        print_link(link);
    if (text_of(link, "state") == "ready") return {};
    return failure(
        ErrorKind::unavailable,
        fmt::format("link {} is kept, but the target does not serve it yet\n  why: {}\n  to do: "
                    "'goldlink status' shows the target; the link becomes ready by itself",
                    text_of(link, "id"), printable(text_of(link, "problem", "not said"))));
}

Result<> list_links(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(
        auto links,
        api.list("/links" + query({{"client", arguments.client}, {"image", arguments.image}})));
    if (session.json) {
        print_json(links);
        return {};
    }
    if (links.empty()) {
        print_note("no links: goldlink link create --client NAME --image REF\n");
        return {};
    }
    Table table({"ID", "FOR", "IMAGE", "POLICY", "STATE", "SESSIONS", "OVERLAY"});
    for (const auto& link : links)
        table.add({text_of(link, "id"), owner_cell(link), image_cell(link), text_of(link, "policy"),
                   text_of(link, "state"), std::to_string(items_of(link, "sessions").size()),
                   overlay_cell(link)});
    print(table.to_string());
    return {};
}

Result<> show_link(const Session& session, const Arguments& arguments) {
    if (arguments.usage)
        return show_link_usage(session, arguments.id, arguments.lun, arguments.files);
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(auto link, api.get(link_path(arguments.id)));
    if (session.json)
        print_json(link);
    else
        print_link(link);
    return {};
}

Result<> reset_link(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    json::object body;
    if (arguments.force) body["force"] = true;
    if (arguments.lun) body["lun"] = *arguments.lun;
    GOLDLINK_TRY_ASSIGN(auto link, api.post(link_path(arguments.id) + "/reset", body));
    if (session.json)
        print_json(link);
    else
        print(arguments.lun
                  ? fmt::format("LUN {} of {} is fresh again\n", *arguments.lun, arguments.id)
                  : fmt::format("{} is fresh again\n", arguments.id));
    return {};
}

Result<> commit_link(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    json::object body;
    if (!arguments.note.empty()) body["note"] = arguments.note;
    if (!arguments.channel.empty()) body["channel"] = arguments.channel;
    if (arguments.lun) body["lun"] = *arguments.lun;
    if (arguments.sibling) body["sibling"] = true;
    GOLDLINK_TRY_ASSIGN(auto task, api.post(link_path(arguments.id) + "/commit", body));
    GOLDLINK_TRY_ASSIGN(auto done, follow_task(api, std::move(task), "committing"));
    if (session.json)
        print_json(done);
    else
        print(fmt::format("{} is ready\n", printable(text_of(done, "subject"))));
    return {};
}

// The super disk whose edits are given up: the one named, or the only one.
Result<std::int64_t> lun_to_abandon(Api& api, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(const auto link, api.get(link_path(arguments.id)));
    std::vector<std::int64_t> found;
    for (const auto& disk : items_of(link, "disks"))
        if (text_of(disk, "policy") == "super" &&
            arguments.lun.value_or(int_of(disk, "lun")) == int_of(disk, "lun"))
            found.push_back(int_of(disk, "lun"));
    if (found.size() == 1) return found.front();
    if (found.empty())
        return failure(
            ErrorKind::conflict,
            fmt::format(
                "link {} has no super disk{} whose edits could be given up\n  to "
                "do: 'goldlink link reset' drops what a client wrote to others",
                arguments.id,
                arguments.lun ? fmt::format(" with LUN {}", *arguments.lun) : std::string()));
    return failure(
        ErrorKind::conflict,
        fmt::format("link {} has several super disks, LUNs {}\n  to do: say which by --lun",
                    arguments.id, fmt::join(found, ", ")));
}

Result<> abandon_link(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(const auto lun, lun_to_abandon(api, arguments));
    json::object body{{"lun", lun}};
    if (arguments.force) body["force"] = true;
    GOLDLINK_TRY_ASSIGN(auto link, api.post(link_path(arguments.id) + "/reset", body));
    if (session.json)
        print_json(link);
    else
        for (const auto& disk : items_of(link, "disks"))
            if (int_of(disk, "lun") == lun)
                print(fmt::format("the edits of LUN {} of {} are gone; it starts from {}@{}\n", lun,
                                  arguments.id, printable(text_of(disk, "image")),
                                  int_of(disk, "version")));
    return {};
}

Result<> save_link(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    json::object body;
    if (!arguments.note.empty()) body["note"] = arguments.note;
    if (!arguments.channel.empty()) body["channel"] = arguments.channel;
    if (!arguments.new_image.empty()) body["image"] = arguments.new_image;
    if (arguments.lun) body["lun"] = *arguments.lun;
    GOLDLINK_TRY_ASSIGN(auto task, api.post(link_path(arguments.id) + "/save", body));
    GOLDLINK_TRY_ASSIGN(auto done, follow_task(api, std::move(task), "saving"));
    if (session.json) {
        print_json(done);
        return {};
    }
    print(fmt::format("{} is ready\n", printable(text_of(done, "subject"))));
    const auto* result = member(done, "result");
    const auto* live = result == nullptr ? nullptr : member(*result, "live");
    if (live != nullptr && *live == true)
        print_note(
            "its client was running: the version is what a power cut at that moment would have "
            "left,\nand its file systems are repaired when they are first started\n");
    return {};
}

Result<> remove_link(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY(api.remove(link_path(arguments.id) + (arguments.force ? "?force=true" : "")));
    if (session.json)
        print_json({{"removed", arguments.id}});
    else
        print(fmt::format("removed {}\n", arguments.id));
    return {};
}

}  // namespace

void add_link_verbs(CLI::App& root, Session& session) {
    auto& noun = *add_noun(root, "link", "What a client, or a lease, boots");
    const auto arguments = std::make_shared<Arguments>();
    const auto verb = [&](VerbText text, Result<> (*action)(const Session&, const Arguments&)) {
        return add_verb(noun, session, text,
                        [&session, arguments, action] { return action(session, *arguments); });
    };
    const auto by_id = [&](CLI::App* app) {
        app->add_option("ID", arguments->id, "The link's id: 'goldlink link ls'")->required();
        return app;
    };

    auto* create =
        verb({"create", "Bind a client, or a lease, to an image",
              "Policy discard (the default): the disk is fresh at every boot. keep: "
              "what the client writes\n"
              "persists. super: edits that 'goldlink link commit' makes the next "
              "version. A lease is a disk\n"
              "for CI that ends by itself; its url works with libiscsi's tools at once.\n"
              "--disk adds a data disk (a game disk, a personal disk) with a policy of "
              "its own.",
              "goldlink link create --client PC-001 --image win11\n"
              "goldlink link create --client PC-003 --image win11 --disk 1=personal,keep "
              "--disk 2=games\n"
              "goldlink link create --client PC-002 --image win11:test --policy keep\n"
              "goldlink link create --lease 30m --image runner@7 --json"},
             create_link);
    auto* owner = create->add_option_group("owner", "One of");
    owner->add_option("--client", arguments->client, "The client that boots it")->type_name("NAME");
    owner->add_option("--lease", arguments->lease, "Time to live without a client: 30m, 2h, 1d")
        ->type_name("TIME")
        ->check(check_lease);
    owner->require_option(1);
    create->add_option("--image", arguments->image, "NAME, NAME:channel or NAME@version")
        ->required()
        ->type_name("REF")
        ->check(check_image_ref);
    create->add_option("--policy", arguments->policy, "What becomes of writes (default discard)")
        ->check(CLI::IsMember({"discard", "keep", "super"}));
    create
        ->add_option("--quota", arguments->quota,
                     "What the overlay (write-back) of LUN 0 may take, as 20G (default: as much as "
                     "the disk is large)")
        ->type_name("BYTES")
        ->check(check_quota);
    create
        ->add_option(
            "--disk", arguments->disks,
            "A disk beside LUN 0, which --image is: LUN=REF[,POLICY][,4kn][,quota=BYTES]; several "
            "times")
        ->type_name("DISK")
        ->allow_extra_args(false)
        ->check(check_link_disk);
    create->add_flag("--4kn", arguments->native_4k,
                     "LUN 0 has blocks of 4 KiB; BIOS machines cannot start from it");
    create->add_flag("--install", arguments->install,
                     "Start the disc of --disk with LUN 0 attached, to install onto it");

    auto* list = verb({"ls", "List links", "", "goldlink link ls\ngoldlink link ls --image win11"},
                      list_links);
    list->add_option("--client", arguments->client, "Only that client's")->type_name("NAME");
    list->add_option("--image", arguments->image, "Only those of an image")->type_name("NAME");
    const auto add_lun = [&](CLI::App* app, const char* text) {
        return app->add_option("--lun", arguments->lun, text)
            ->type_name("LUN")
            ->check(CLI::Range(0, 255));
    };
    auto* show = by_id(
        verb({"show", "Show a link with its sessions, overlay and credentials",
              "--usage shows what fills its overlay (write-back): how much was written to each "
              "partition and, on\n"
              "NTFS, ext2 to ext4, FAT and exFAT, the files that most of it belongs to. Its client "
              "goes on meanwhile.",
              "goldlink link show 3f0c...\ngoldlink link show 3f0c... --json\n"
              "goldlink link show 3f0c... --usage --files 50"},
             show_link));
    auto* usage = show->add_flag("--usage", arguments->usage, "What fills its overlay");
    add_lun(show, "Of which disk (default 0)")->needs(usage);
    show->add_option("--files", arguments->files, "How many files of each partition (default 20)")
        ->type_name("N")
        ->check(CLI::Range(0, 100))
        ->needs(usage);
    add_link_set(noun, session);
    auto* reset = by_id(
        verb({"reset", "Drop what the client wrote, now", "Refused while a client runs on it.",
              "goldlink link reset 3f0c...\ngoldlink link reset 3f0c... --lun 1"},
             reset_link));
    add_lun(reset, "Only this disk; the others keep what was written to them");
    reset->add_flag("--force", arguments->force, "Cut a running client off");
    auto* commit = by_id(
        verb({"commit", "Make the next version from a super link's edits",
              "Refused while its client runs, and when another version was made from the same "
              "one since: then\nit shows whose, and which bytes both changed.",
              "goldlink link commit 3f0c... --version-note 'updates of May' --channel test"},
             commit_link));
    commit->add_option("--version-note", arguments->note, "What the new version is")
        ->type_name("TEXT");
    commit->add_option("--channel", arguments->channel, "Point this channel at it")
        ->type_name("NAME");
    add_lun(commit, "Which disk, when the link has several super ones");
    commit->add_flag("--sibling", arguments->sibling,
                     "Also when another version was made from the same one meanwhile: beside it, "
                     "with nothing of it inside");
    auto* abandon = by_id(
        verb({"abandon", "Give a super link's edits up",
              "The disk starts again from the version its channel points at. There is no way back: "
              "'goldlink\n"
              "link save' keeps them as a version first. Refused while a client runs on it.",
              "goldlink link abandon 3f0c..."},
             abandon_link));
    add_lun(abandon, "Which disk, when the link has several super ones");
    abandon->add_flag("--force", arguments->force, "Cut a running client off");
    auto* save = by_id(
        verb({"save", "Make a version of what a client's disk holds now",
              "Of any policy, and while the client runs: the version is then what a power cut at "
              "that moment\n"
              "would have left. The link and its client go on as they are. Without --as it becomes "
              "the next\n"
              "version of its image.",
              "goldlink link save 3f0c... --version-note 'as the teacher left it'\n"
              "goldlink link save 3f0c... --as exam-2026\n"
              "goldlink link save 3f0c... --lun 1 --channel test"},
             save_link));
    save->add_option("--as", arguments->new_image, "Make a new image of it")->type_name("NAME");
    save->add_option("--version-note", arguments->note, "What the new version is")
        ->type_name("TEXT");
    save->add_option("--channel", arguments->channel, "Point this channel at it")
        ->type_name("NAME");
    add_lun(save, "Which disk, when the link has several");
    add_link_damage(noun, session);
    add_link_rebase(noun, session);
    auto* remove = by_id(verb(
        {"rm", "End a link and drop its overlay",
         "Of policy keep and super: refused while its client runs, and what was written goes "
         "to the trash for\nsome days ('goldlink trash ls'). Leases and discard disks are gone "
         "at once.",
         "goldlink link rm 3f0c...\ngoldlink link rm 3f0c... --force"},
        remove_link));
    remove->add_flag("--force", arguments->force, "Cut a running client off");
}

}  // namespace goldlink::cli
