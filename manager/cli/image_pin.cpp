// goldlink image pin and unpin: what stays in the server's memory.
#include <fmt/format.h>

#include <memory>

#include "manager/cli/connect.hpp"
#include "manager/cli/image_verbs.hpp"

namespace goldlink::cli {

namespace {

Result<> set_pin(const Session& session, const std::string& text, bool pinned) {
    GOLDLINK_TRY_ASSIGN(auto ref, parse_image_ref(text));
    if (ref.version)
        return failure(ErrorKind::invalid,
                       fmt::format("{} names a version\n  to do: pin a channel, as {}:production: "
                                   "what it points at is kept in memory, also after a promote",
                                   text, ref.name));
    if (ref.channel.empty()) ref.channel = "production";
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    const auto path =
        fmt::format("{}/channels/{}/pin", image_path(ref.name), http::percent_encode(ref.channel));
    if (!pinned) {
        GOLDLINK_TRY(api.remove(path));
        if (session.json)
            print_json({{"unpinned", fmt::format("{}:{}", ref.name, ref.channel)}});
        else
            print(fmt::format("{}:{} is kept in memory only as far as it is read\n", ref.name,
                              ref.channel));
        return {};
    }
    GOLDLINK_TRY_ASSIGN(auto image, api.put(path, json::object()));
    if (session.json)
        print_json(image);
    else
        print(
            fmt::format("{}:{} is being read into memory, and stays there\n  'goldlink image "
                        "show {}' says how far it is\n",
                        ref.name, ref.channel, ref.name));
    return {};
}

}  // namespace

std::string pin_line(const json::value& version) {
    if (!has_value(version, "pin")) return "";
    const auto& pin = *member(version, "pin");
    std::string line = fmt::format("pinned, {} of {} in memory", size_cell(pin, "pinned_bytes"),
                                   size_cell(pin, "wanted_bytes"));
    if (const auto problem = text_of(pin, "problem"); !problem.empty())
        line += fmt::format(" ({})", printable(problem));
    return line;
}

void add_image_pins(CLI::App& noun, Session& session) {
    const auto image = std::make_shared<std::string>();
    const auto verb = [&](VerbText text, bool pinned) {
        add_verb(noun, session, text,
                 [&session, image, pinned] { return set_pin(session, *image, pinned); })
            ->add_option("IMAGE", *image, "NAME or NAME:channel (default production)")
            ->required()
            ->check(check_image_ref);
    };
    verb(
        {"pin", "Keep what a channel points at in the server's memory",
         "All of its data, so that no read of it waits for a disk; what boots read comes first. It "
         "goes\nwhere 'goldlink up --locked-memory' says how much memory there is for it.",
         "goldlink image pin win11\ngoldlink image pin win11:test"},
        true);
    verb({"unpin", "Give that memory back", "", "goldlink image unpin win11"}, false);
}

}  // namespace goldlink::cli
