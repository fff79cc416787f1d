// goldlink link rebase: what it would mean for a disk that keeps what its client writes to go on
// over another version, and doing it.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "manager/cli/connect.hpp"
#include "manager/cli/link_verbs.hpp"
#include "manager/cli/text.hpp"

namespace goldlink::cli {

namespace {

constexpr std::size_t kRangesShown = 10;

struct Arguments {
    std::string id, onto, take;
    std::optional<std::int64_t> lun;
    bool force = false;
};

std::string size_of(const json::value& object, std::string_view name) {
    return format_bytes(
        static_cast<std::uint64_t>(std::max<std::int64_t>(int_of(object, name), 0)));
}

std::string version_name(const json::value& report, std::string_view which) {
    return fmt::format("{}@{}", text_of(report, "image"), int_of(report, which));
}

std::string ranges_text(const json::value& overlap) {
    std::string text;
    const auto& ranges = items_of(overlap, "ranges");
    const std::size_t count = std::min(ranges.size(), kRangesShown);
    for (std::size_t i = 0; i < count; ++i)
        text += fmt::format("            {} at byte {}\n", size_of(ranges[i], "length_bytes"),
                            int_of(ranges[i], "offset_bytes"));
    const auto more = int_of(overlap, "range_count") - static_cast<std::int64_t>(count);
    if (more > 0) text += fmt::format("            and {} more places\n", more);
    return text;
}

std::string report_text(const json::value& report) {
    const json::value none(json::object{});
    const auto* found = member(report, "overlap");
    const json::value& overlap = found == nullptr ? none : *found;
    const auto owner = text_of(report, "client", "lease");
    std::string text =
        fmt::format("{}, LUN {}, {}\n", owner, int_of(report, "lun"), text_of(report, "policy"));
    text += fmt::format("on        {}\n", version_name(report, "from"));
    const auto channel = text_of(report, "channel");
    const auto note = text_of(report, "to_note");
    text += fmt::format("newer     {}{}{}\n", version_name(report, "to"),
                        channel.empty() ? ", pinned" : fmt::format(", as channel {}", channel),
                        note.empty() ? "" : fmt::format(" ({})", note));
    if (const auto* same = member(report, "up_to_date"); same != nullptr && *same == true)
        return text + "it is on that version already\n";
    text += fmt::format("written   {} by {}\n", size_of(overlap, "mine_bytes"), owner);
    text += fmt::format("changed   {} by {}\n", size_of(overlap, "theirs_bytes"),
                        version_name(report, "to"));
    const auto* exact = member(overlap, "exact");
    if (int_of(overlap, "both_bytes") == 0)
        text += "by both   nothing\n";
    else
        text += fmt::format("by both   {}{} in {} places\n{}",
                            exact != nullptr && *exact == false ? "at most " : "",
                            size_of(overlap, "both_bytes"), int_of(overlap, "range_count"),
                            ranges_text(overlap));
    for (const auto& partition : items_of(overlap, "partitions"))
        text += fmt::format("both in   {}: {} written, {} changed\n",
                            has_value(partition, "number")
                                ? fmt::format("partition {}", int_of(partition, "number"))
                                : "what is outside of partitions",
                            size_of(partition, "mine_bytes"), size_of(partition, "theirs_bytes"));
    for (const auto& user : items_of(report, "used_by"))
        if (user.is_string()) text += fmt::format("used by   {}\n", std::string(user.as_string()));
    for (const auto& choice : items_of(report, "choices")) {
        text += fmt::format("\n--take {}: {}\n", text_of(choice, "take"), text_of(choice, "means"));
        if (const auto why = text_of(choice, "why_not"); !why.empty())
            text += fmt::format("  not now: {}\n", why);
    }
    return text;
}

void print_lines(const std::string& text) {
    for (std::size_t at = 0; at < text.size();) {
        const auto end = std::min(text.find('\n', at), text.size());
        print(printable(std::string_view(text).substr(at, end - at)) + "\n");
        at = end + 1;
    }
}

Result<> rebase_link(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    const std::string path = "/links/" + http::percent_encode(arguments.id) + "/rebase";
    const std::string lun = arguments.lun ? std::to_string(*arguments.lun) : std::string();
    GOLDLINK_TRY_ASSIGN(const auto report,
                        api.get(path + query({{"lun", lun}, {"onto", arguments.onto}})));
    if (arguments.take.empty()) {
        if (session.json)
            print_json(report);
        else
            print_lines(report_text(report));
        return {};
    }
    if (const auto* overlap = member(report, "overlap");
        overlap != nullptr && arguments.take == "fresh" && !session.json)
        print_note(fmt::format("dropping {} that {} wrote over {}\n",
                               size_of(*overlap, "mine_bytes"),
                               printable(text_of(report, "client", "the lease")),
                               printable(version_name(report, "from"))));
    json::object body{{"take", arguments.take}, {"lun", int_of(report, "lun")}};
    if (!arguments.onto.empty()) body["onto"] = arguments.onto;
    if (arguments.force) body["force"] = true;
    GOLDLINK_TRY_ASSIGN(auto task, api.post(path, body));
    GOLDLINK_TRY_ASSIGN(const auto done, follow_task(api, std::move(task), "rebasing"));
    if (session.json)
        print_json(done);
    else
        print(fmt::format("{}: {}\n", printable(text_of(done, "subject")),
                          printable(text_of(done, "message"))));
    return {};
}

}  // namespace

void add_link_rebase(CLI::App& noun, Session& session) {
    const auto arguments = std::make_shared<Arguments>();
    auto* rebase = add_verb(
        noun, session,
        {"rebase", "Take a disk that keeps its changes to a newer version",
         "A disk of policy keep or super stays on the version it was started from. Without --take "
         "this only\nreports: what the client wrote, what the newer version changed, and where "
         "both changed the same.\n"
         "--take fresh starts from the newer version; what the client wrote is dropped. 'goldlink "
         "link save --as'\nkeeps it as an image first.\n"
         "--take written keeps what the client wrote and lays it over the newer version. A disk "
         "knows blocks,\nnot files: that is safe only where the two changed different partitions. "
         "Changes of both to one file\nsystem damage it, also in different places, so it is "
         "refused where both changed the same partition.\nA block that the client wrote with what "
         "the old version had there counts as not written: it becomes\nthe newer version's.\n"
         "Refused while a client runs on the disk. Disks of policy discard take new versions at "
         "their next boot.",
         "goldlink link rebase 3f0c...\n"
         "goldlink link rebase 3f0c... --take fresh\n"
         "goldlink link rebase 3f0c... --onto win11@7 --lun 1 --take written"},
        [&session, arguments] { return rebase_link(session, *arguments); });
    rebase->add_option("ID", arguments->id, "The link's id: 'goldlink link ls'")->required();
    rebase->add_option("--lun", arguments->lun, "Which disk, when the link has several that keep")
        ->type_name("LUN")
        ->check(CLI::Range(0, 255));
    rebase
        ->add_option("--onto", arguments->onto,
                     "NAME:channel follows it, NAME@version pins (default: what its channel points "
                     "at now)")
        ->type_name("REF")
        ->check(check_image_ref);
    auto* take = rebase
                     ->add_option("--take", arguments->take,
                                  "Do it: start fresh, or keep what was written over it")
                     ->check(CLI::IsMember({"fresh", "written"}));
    rebase
        ->add_flag("--force", arguments->force,
                   "With --take written also when both changed the same partition: expect damage")
        ->needs(take);
}

}  // namespace goldlink::cli
