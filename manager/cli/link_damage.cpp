// goldlink link verify and salvage: what of a link's overlay is damaged, and what can be saved of
// it.
#include <fmt/format.h>

#include <memory>
#include <optional>

#include "manager/cli/connect.hpp"
#include "manager/cli/link_verbs.hpp"
#include "manager/cli/text.hpp"

namespace goldlink::cli {

namespace {

struct Arguments {
    std::string id, note, channel, new_image;
    std::optional<std::int64_t> lun;
};

std::string link_path(const std::string& id) { return "/links/" + http::percent_encode(id); }

json::object body_of(const Arguments& arguments) {
    json::object body;
    if (arguments.lun) body["lun"] = *arguments.lun;
    return body;
}

void print_ranges(const json::value& result, const char* name, const char* what) {
    for (const auto& range : items_of(result, name))
        print(fmt::format("  {}: {} bytes at {}\n", what, int_of(range, "length_bytes"),
                          int_of(range, "offset_bytes")));
}

Result<> verify_link(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(auto task,
                        api.post(link_path(arguments.id) + "/verify", body_of(arguments)));
    GOLDLINK_TRY_ASSIGN(auto done, follow_task(api, std::move(task), "verifying"));
    const auto* result = member(done, "result");
    if (session.json) {
        print_json(done);
    } else {
        print(fmt::format("{}: {}\n", printable(text_of(done, "subject")),
                          printable(text_of(done, "message"))));
        if (result != nullptr) print_ranges(*result, "bad", "bad");
    }
    const auto bad_bytes = result == nullptr ? 0 : int_of(*result, "bad_bytes");
    if (bad_bytes == 0) return {};
    return failure(
        ErrorKind::corrupt,
        fmt::format(
            "{} bytes of the disk are not what was written, or cannot be read: reads of "
            "them fail, all else is served\n  to do: let the client write those files anew, "
            "or take what is good with 'goldlink link salvage {}', then 'goldlink link "
            "reset' it",
            bad_bytes, arguments.id));
}

Result<> salvage_link(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    json::object body = body_of(arguments);
    if (!arguments.note.empty()) body["note"] = arguments.note;
    if (!arguments.channel.empty()) body["channel"] = arguments.channel;
    if (!arguments.new_image.empty()) body["image"] = arguments.new_image;
    GOLDLINK_TRY_ASSIGN(auto task, api.post(link_path(arguments.id) + "/salvage", body));
    GOLDLINK_TRY_ASSIGN(auto done, follow_task(api, std::move(task), "salvaging"));
    if (session.json) {
        print_json(done);
        return {};
    }
    print(fmt::format("{} is ready: {}\n", printable(text_of(done, "subject")),
                      printable(text_of(done, "message"))));
    const auto* result = member(done, "result");
    const auto* salvage = result == nullptr ? nullptr : member(*result, "salvage");
    if (salvage == nullptr) return {};
    print_ranges(*salvage, "lost", "lost");
    print_ranges(*salvage, "doubtful", "perhaps older");
    if (int_of(*salvage, "bad_records") > 0)
        print_note(
            "records of what was written are lost: parts of the disk that are not listed "
            "may be older, too\n");
    return {};
}

// What both verbs take.
void add_disk(CLI::App* verb, Arguments& arguments) {
    verb->add_option("ID", arguments.id, "The link's id: 'goldlink link ls'")->required();
    verb->add_option("--lun", arguments.lun, "Which disk, when the link has several")
        ->type_name("LUN")
        ->check(CLI::Range(0, 255));
}

}  // namespace

void add_link_damage(CLI::App& noun, Session& session) {
    const auto arguments = std::make_shared<Arguments>();
    auto* verify =
        add_verb(noun, session,
                 {"verify", "Compare every block of a link's overlay with what was written",
                  "Reads the blocks of the disk's overlay (write-back) and compares each with its "
                  "checksum,\n"
                  "while the client runs. Bad ones read as errors until they are written anew.",
                  "goldlink link verify 3f0c..."},
                 [&session, arguments] { return verify_link(session, *arguments); });
    add_disk(verify, *arguments);
    auto* salvage = add_verb(
        noun, session,
        {"salvage", "Make a version of what can be read of a damaged disk",
         "Of a disk of policy keep or super whose files are damaged: what is good becomes a\n"
         "version, and it is said what is not. 'image export' writes it to a file. The link stays\n"
         "what it is; refused while its client runs.",
         "goldlink link salvage 3f0c... --as rescued"},
        [&session, arguments] { return salvage_link(session, *arguments); });
    add_disk(salvage, *arguments);
    salvage->add_option("--as", arguments->new_image, "Make a new image of it")->type_name("NAME");
    salvage->add_option("--version-note", arguments->note, "What the new version is")
        ->type_name("TEXT");
    salvage->add_option("--channel", arguments->channel, "Point this channel at it")
        ->type_name("NAME");
}

}  // namespace goldlink::cli
