// goldlink image: golden images, their versions and channels.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "manager/cli/connect.hpp"
#include "manager/cli/image_verbs.hpp"
#include "manager/cli/progress.hpp"
#include "manager/cli/text.hpp"

namespace goldlink::cli {

namespace {

constexpr const char* kDefaultChannel = "production";

struct Arguments {
    std::string ref;
    std::string note;
    std::string channel;
    std::string new_name;
    std::int64_t to_version = 0;
    std::uint64_t size_bytes = 0;
};

// "production@7 test@9", by name.
std::string channels_cell(const json::value& image) {
    std::string out;
    const auto* channels = member(image, "channels");
    if (channels == nullptr || !channels->is_object()) return out;
    for (const auto& [name, version] : channels->as_object()) {
        if (!version.is_int64()) continue;
        if (!out.empty()) out += ' ';
        out += fmt::format("{}@{}", std::string_view(name), version.as_int64());
    }
    return out;
}

Result<> create_image(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    json::object body{{"size_bytes", arguments.size_bytes}};
    if (!arguments.note.empty()) body["note"] = arguments.note;
    if (!arguments.channel.empty()) body["channel"] = arguments.channel;
    GOLDLINK_TRY_ASSIGN(auto task, api.post(image_path(arguments.ref) + "/blank", body));
    GOLDLINK_TRY_ASSIGN(auto done,
                        follow_task(api, std::move(task), fmt::format("making {}", arguments.ref)));
    if (session.json)
        print_json(done);
    else
        print(fmt::format("{} is ready, a blank disk of {}\n", printable(text_of(done, "subject")),
                          format_bytes(arguments.size_bytes)));
    return {};
}

// The version a reference means, as the body of a call names it.
Result<std::int64_t> find_version(Api& api, const ImageRef& ref) {
    GOLDLINK_TRY_ASSIGN(const auto image, api.get(image_path(ref.name)));
    return version_of(image, ref);
}

Result<> clone_image(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(const auto ref, parse_image_ref(arguments.ref));
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(const auto version, find_version(api, ref));
    json::object body{{"name", arguments.new_name}, {"version", version}};
    if (!arguments.note.empty()) body["note"] = arguments.note;
    GOLDLINK_TRY_ASSIGN(auto made, api.post(image_path(ref.name) + "/clone", body));
    if (session.json)
        print_json(made);
    else
        print(fmt::format("{}@1 is {}@{}\n", arguments.new_name, ref.name, version));
    return {};
}

Result<> grow_image(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(const auto ref, parse_image_ref(arguments.ref));
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(const auto version, find_version(api, ref));
    json::object body{{"size_bytes", arguments.size_bytes}, {"version", version}};
    if (!arguments.note.empty()) body["note"] = arguments.note;
    if (!arguments.channel.empty()) body["channel"] = arguments.channel;
    GOLDLINK_TRY_ASSIGN(auto task, api.post(image_path(ref.name) + "/grow", body));
    GOLDLINK_TRY_ASSIGN(auto done, follow_task(api, std::move(task), "growing " + ref.name));
    if (session.json) {
        print_json(done);
        return {};
    }
    print(fmt::format("{} is ready, {}@{} as a disk of {}\n", printable(text_of(done, "subject")),
                      ref.name, version, format_bytes(arguments.size_bytes)));
    print_note("partitions are as large as before: extend them on a super link, and commit\n");
    return {};
}

Result<> list_images(const Session& session) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(auto images, api.list("/images"));
    if (session.json) {
        print_json(images);
        return {};
    }
    if (images.empty()) {
        print_note("no images yet: goldlink image import NAME FILE\n");
        return {};
    }
    Table table({"NAME", "SIZE", "VERSIONS", "CHANNELS", "NOTE"});
    for (const auto& image : images)
        table.add({text_of(image, "name"), size_cell(image, "size_bytes"),
                   std::to_string(items_of(image, "versions").size()), channels_cell(image),
                   text_of(image, "note")});
    print(table.to_string());
    return {};
}

// How versions in use are read, and what is read ahead of their boots.
std::string cache_lines(const json::value& image, const std::string& name,
                        std::optional<std::int64_t> only) {
    std::string out;
    for (const auto& version : items_of(image, "versions")) {
        const auto number = int_of(version, "number");
        if (only && number != *only) continue;
        std::string line;
        if (has_value(version, "reads")) {
            const auto& reads = *member(version, "reads");
            const auto hits = int_of(reads, "cache_hits"), misses = int_of(reads, "cache_misses");
            if (hits + misses > 0)
                line = fmt::format(
                    "{:.1f} % of {} reads from memory",
                    100.0 * static_cast<double>(hits) / static_cast<double>(hits + misses),
                    hits + misses);
        }
        if (has_value(version, "boot_trace")) {
            const auto& trace = *member(version, "boot_trace");
            line += fmt::format("{}boots read {} first, {}", line.empty() ? "" : "; ",
                                size_cell(trace, "bytes"),
                                has_value(trace, "prewarmed_at")
                                    ? "read ahead " + format_time(text_of(trace, "prewarmed_at"))
                                    : "not read ahead since the start");
        }
        if (const auto pinned = pin_line(version); !pinned.empty())
            line += (line.empty() ? "" : "; ") + pinned;
        if (!line.empty()) out += fmt::format("{}@{}: {}\n", name, number, line);
    }
    return out.empty() ? out : "\n" + out;
}

Result<> show_image(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(const auto ref, parse_image_ref(arguments.ref));
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(auto image, api.get(image_path(ref.name)));
    std::optional<std::int64_t> only;
    if (ref.version || !ref.channel.empty()) {
        GOLDLINK_TRY_ASSIGN(only, version_of(image, ref));
    }
    Table table({"VERSION", "STATE", "SIZE", "STORED", "CREATED", "VERIFIED", "DIGEST", "NOTE"});
    for (const auto& version : items_of(image, "versions")) {
        if (only && int_of(version, "number") != *only) continue;
        if (only && session.json) {
            print_json(version);
            return {};
        }
        // A failed import says why where a ready one has its note.
        const auto error = text_of(version, "error");
        table.add(
            {std::to_string(int_of(version, "number")), text_of(version, "state"),
             size_cell(version, "size_bytes"), size_cell(version, "stored_bytes"),
             format_time(text_of(version, "created_at")),
             has_value(version, "verified_at") ? format_time(text_of(version, "verified_at")) : "",
             text_of(version, "digest").substr(0, 12),
             error.empty() ? text_of(version, "note") : error});
    }
    if (only && table.empty())
        return failure(
            ErrorKind::not_found,
            fmt::format("image {} has no version {}\n  to do: 'goldlink image show {}' lists "
                        "what it has",
                        ref.name, *only, ref.name));
    if (session.json) {
        print_json(image);
        return {};
    }
    print(fmt::format("image     {}\nchannels  {}\n", printable(text_of(image, "name")),
                      printable(channels_cell(image))));
    if (!text_of(image, "note").empty())
        print(fmt::format("note      {}\n", printable(text_of(image, "note"))));
    if (!table.empty()) print("\n" + table.to_string());
    print(cache_lines(image, ref.name, only));
    for (const auto& version : items_of(image, "versions")) {
        const auto damage = text_of(version, "damage");
        if (damage.empty() || (only && int_of(version, "number") != *only)) continue;
        const auto subject = fmt::format("{}@{}", ref.name, int_of(version, "number"));
        print(fmt::format("\n{} is damaged: {}\n  to do: {}\n", subject, printable(damage),
                          repair_advice(subject)));
    }
    return {};
}

Result<> prewarm_image(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(const auto ref, parse_image_ref(arguments.ref));
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(auto image, api.get(image_path(ref.name)));
    GOLDLINK_TRY_ASSIGN(const auto number, version_of(image, ref));
    const auto subject = fmt::format("{}@{}", ref.name, number);
    GOLDLINK_TRY_ASSIGN(
        auto task, api.post(fmt::format("{}/versions/{}/prewarm", image_path(ref.name), number),
                            json::object()));
    GOLDLINK_TRY_ASSIGN(auto done, follow_task(api, std::move(task), "reading " + subject));
    if (session.json) {
        print_json(done);
        return {};
    }
    const auto* result = member(done, "result");
    print(fmt::format("{} that boots of {} read are in memory\n",
                      result == nullptr ? "0 B" : size_cell(*result, "prewarmed_bytes"), subject));
    return {};
}

Result<> remove_image(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(const auto ref, parse_image_ref(arguments.ref));
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    std::string path = image_path(ref.name);
    if (ref.version) path += fmt::format("/versions/{}", *ref.version);
    if (!ref.channel.empty()) path += "/channels/" + http::percent_encode(ref.channel);
    GOLDLINK_TRY(api.remove(path));
    if (session.json)
        print_json({{"removed", arguments.ref}});
    else
        print(fmt::format("removed {}\n", arguments.ref));
    return {};
}

Result<> set_channel(const Session& session, Api& api, const std::string& name,
                     const std::string& channel, std::int64_t version) {
    GOLDLINK_TRY_ASSIGN(auto image, api.put(fmt::format("{}/channels/{}", image_path(name),
                                                        http::percent_encode(channel)),
                                            {{"version", version}}));
    if (session.json)
        print_json(image);
    else
        print(fmt::format("{}:{} is version {} from each client's next boot on\n", name, channel,
                          version));
    return {};
}

Result<> promote_image(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(const auto ref, parse_image_ref(arguments.ref));
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(auto image, api.get(image_path(ref.name)));
    std::int64_t version = 0;
    if (!ref.version && ref.channel.empty()) {
        // A bare name: the newest version that is ready.
        for (const auto& candidate : items_of(image, "versions"))
            if (text_of(candidate, "state") == "ready")
                version = std::max(version, int_of(candidate, "number"));
        if (version == 0)
            return failure(ErrorKind::not_found,
                           fmt::format("image {} has no version that is ready", ref.name));
    } else {
        GOLDLINK_TRY_ASSIGN(version, version_of(image, ref));
    }
    return set_channel(session, api, ref.name,
                       arguments.channel.empty() ? kDefaultChannel : arguments.channel, version);
}

Result<> roll_back_image(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto ref, parse_image_ref(arguments.ref));
    if (ref.channel.empty()) ref.channel = kDefaultChannel;
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    std::int64_t version = arguments.to_version;
    if (version == 0) {
        GOLDLINK_TRY_ASSIGN(auto image, api.get(image_path(ref.name)));
        GOLDLINK_TRY_ASSIGN(const auto current, version_of(image, ref));
        for (const auto& candidate : items_of(image, "versions")) {
            const auto number = int_of(candidate, "number");
            if (text_of(candidate, "state") == "ready" && number < current)
                version = std::max(version, number);
        }
        if (version == 0)
            return failure(ErrorKind::not_found,
                           fmt::format("{}:{} is at version {}, and no older version is ready",
                                       ref.name, ref.channel, current));
    }
    return set_channel(session, api, ref.name, ref.channel, version);
}

}  // namespace

std::string size_cell(const json::value& object, std::string_view name) {
    return has_value(object, name) ? format_bytes(static_cast<std::uint64_t>(
                                         std::max<std::int64_t>(int_of(object, name), 0)))
                                   : "";
}

std::string image_path(const std::string& name) { return "/images/" + http::percent_encode(name); }

Result<std::int64_t> version_of(const json::value& image, const ImageRef& ref) {
    if (ref.version) return *ref.version;
    const std::string channel = ref.channel.empty() ? kDefaultChannel : ref.channel;
    const auto* channels = member(image, "channels");
    if (channels != nullptr && has_value(*channels, channel)) return int_of(*channels, channel);
    return failure(ErrorKind::not_found,
                   fmt::format("image {} has no channel {}\n  to do: name a version, for example "
                               "{}@1; 'goldlink image show {}' lists them",
                               ref.name, channel, ref.name, ref.name));
}

std::string check_image_name(const std::string& text) {
    const auto ref = parse_image_ref(text);
    if (!ref) return ref.error().message;
    return ref->version || !ref->channel.empty() ? std::string("give the image's name alone")
                                                 : std::string();
}

void add_image_verbs(CLI::App& root, Session& session) {
    auto& noun = *add_noun(root, "image", "Golden images, their versions and channels");
    const auto arguments = std::make_shared<Arguments>();
    const auto run = [&session, arguments](Result<> (*verb)(const Session&, const Arguments&)) {
        return [&session, arguments, verb] { return verb(session, *arguments); };
    };
    const auto add_ref = [&](CLI::App* verb) {
        verb->add_option("IMAGE", arguments->ref, "NAME, NAME:channel or NAME@version")
            ->required()
            ->check(check_image_ref);
    };
    add_image_import(noun, session);
    add_image_export(noun, session);
    add_image_copies(noun, session);
    add_image_health(noun, session);
    add_image_repair(noun, session);
    add_image_pins(noun, session);
    const auto add_version_options = [&](CLI::App* verb) {
        verb->add_option("--version-note", arguments->note, "What this version is")
            ->type_name("TEXT");
        verb->add_option("--channel", arguments->channel,
                         "Also point this channel at the new version")
            ->type_name("NAME");
    };

    auto* create = add_verb(
        noun, session,
        {"create", "Make a version that is a blank disk",
         "For an installer to fill, or as an empty personal disk. It takes half a MiB a GiB for\n"
         "the list of its chunks, and no more until it is written to.",
         "goldlink image create blank40 --size 40G\n"
         "goldlink link create --client PC-001 --image blank40 --policy super --disk "
         "1=debian-netinst --install"},
        run(create_image));
    create->add_option("NAME", arguments->ref, "The image's name")
        ->required()
        ->check(check_image_name);
    create->add_option("--size", arguments->size_bytes, "How large the disk is: 40G, 512M")
        ->required()
        ->type_name("SIZE")
        ->transform(CLI::AsSizeValue(false))
        ->check(CLI::Range(std::uint64_t{1} << 20, std::uint64_t{2} << 40));
    add_version_options(create);

    auto* clone = add_verb(noun, session,
                           {"clone", "Make a new image of a version, at once",
                            "No data is copied: both share what is stored, until they differ.",
                            "goldlink image clone win11 win11-exam\n"
                            "goldlink image clone win11@7 win11-lab --version-note 'for the lab'"},
                           run(clone_image));
    add_ref(clone);
    clone->add_option("NEWNAME", arguments->new_name, "The new image's name")
        ->required()
        ->check(check_image_name);
    clone->add_option("--version-note", arguments->note, "What the new image's version is")
        ->type_name("TEXT");
    auto* grow = add_verb(
        noun, session,
        {"grow", "Make a version that is a larger disk",
         "The partition table (GPT) is made to know the new end. Partitions and file systems stay "
         "as\n"
         "they are: the operating system extends them. A disk cannot become smaller.",
         "goldlink image grow win11 120G\ngoldlink image grow win11@7 120G --channel test"},
        run(grow_image));
    add_ref(grow);
    grow->add_option("SIZE", arguments->size_bytes, "How large the disk is to be: 120G")
        ->required()
        ->type_name("SIZE")
        ->transform(CLI::AsSizeValue(false))
        ->check(CLI::Range(std::uint64_t{1} << 20, std::uint64_t{2} << 40));
    add_version_options(grow);
    add_verb(noun, session,
             {"ls", "List images", "", "goldlink image ls\ngoldlink image ls --json"},
             [&session] { return list_images(session); });
    add_ref(add_verb(noun, session,
                     {"show", "Show an image's versions and channels", "",
                      "goldlink image show win11\ngoldlink image show win11@7"},
                     run(show_image)));
    add_ref(add_verb(noun, session,
                     {"prewarm", "Read what boots of a version read into the server's memory",
                      "Before a room starts, for example at a quarter to eight by cron. The server "
                      "does\nit by itself when it starts and when a version takes another's place.",
                      "goldlink image prewarm win11\ngoldlink image prewarm win11@7"},
                     run(prewarm_image)));
    add_ref(add_verb(noun, session,
                     {"rm", "Remove an image, one version, or a channel",
                      "Refused while a link uses it. There is no way back.",
                      "goldlink image rm win11@3        one version\n"
                      "goldlink image rm win11:test     the channel, not its version\n"
                      "goldlink image rm win11          the image with all versions"},
                     run(remove_image)));
    auto* promote =
        add_verb(noun, session,
                 {"promote", "Point a channel at a version",
                  "Clients take it at their next boot. A bare name means the newest ready version.",
                  "goldlink image promote win11\ngoldlink image promote win11@7 --channel test\n"
                  "goldlink image promote win11:test"},
                 run(promote_image));
    add_ref(promote);
    promote->add_option("--channel", arguments->channel, "The channel to move (default production)")
        ->type_name("NAME");
    auto* rollback =
        add_verb(noun, session,
                 {"rollback", "Point a channel at an older version",
                  "Without --to: the newest ready version before the channel's own. Clients take "
                  "it at their\n"
                  "next boot.",
                  "goldlink image rollback win11\ngoldlink image rollback win11:test --to 5"},
                 run(roll_back_image));
    add_ref(rollback);
    rollback->add_option("--to", arguments->to_version, "The version to go back to")
        ->type_name("N")
        ->check(CLI::Range(std::int64_t{1}, std::int64_t{1'000'000'000}));
}

}  // namespace goldlink::cli
