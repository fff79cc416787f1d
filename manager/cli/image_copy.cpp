// goldlink image push and pull: a version from one server to another, by way of this machine. The
// receiver is asked which chunks it lacks, and only these travel, compressed as they came.
#include <fmt/format.h>

#include "manager/cli/connect.hpp"
#include "manager/cli/image_verbs.hpp"
#include "manager/cli/version_copy.hpp"

namespace goldlink::cli {

namespace {

struct Arguments {
    std::string ref, url, token_file, as, channel;
};

// A version of the same content, where the receiver's image has one.
struct There {
    std::int64_t number = 0;
    bool damaged = false;
};
std::optional<There> there_already(Api& to, const std::string& name, const Digest& digest) {
    const auto image = to.get(image_path(name));
    if (!image) return {};
    const json::value* const version = ready_version(*image, std::nullopt, to_hex(digest));
    if (version == nullptr) return {};
    return There{int_of(*version, "number"),
                 has_value(*version, "damage") || int_of(*version, "bad_bytes") > 0};
}

// It is there: what is left to do is to mend what that server has found damaged of it.
Result<> tell_of(const Session& session, Api& to, const std::string& name, const There& there,
                 RemoteVersion& from) {
    const auto subject = fmt::format("{}@{}", name, there.number);
    std::optional<Mending> mending;
    if (there.damaged) {
        GOLDLINK_TRY_ASSIGN(mending, mend_version(to, name, there.number, from));
    }
    if (session.json) {
        json::object shown{{"subject", subject}, {"sent_bytes", 0}};
        if (mending) {
            shown["sent_bytes"] = mending->sent_bytes;
            shown["bad_chunks"] = mending->bad_chunks;
            shown["mended_chunks"] = mending->mended_chunks;
        }
        print_json(shown);
    } else {
        print(fmt::format("{} is {} already\n", subject, from.subject()));
        if (mending) print(mending_text(subject, *mending, from.server()));
    }
    if (mending && !mending->whole()) return still_damaged(subject, *mending);
    return {};
}

Result<> copy_version(const Session& session, const Arguments& arguments, Api& from_api, Api& to) {
    GOLDLINK_TRY_ASSIGN(const auto ref, parse_image_ref(arguments.ref));
    GOLDLINK_TRY_ASSIGN(auto from, RemoteVersion::find(from_api, ref));
    const auto name = arguments.as.empty() ? ref.name : arguments.as;
    if (const auto there = there_already(to, name, from.digest()))
        return tell_of(session, to, name, *there, from);
    json::object wishes{{"digest", to_hex(from.digest())},
                        {"size_bytes", from.size_bytes()},
                        {"kind", from.kind()},
                        {"note", from.note()}};
    if (!arguments.channel.empty()) wishes["channel"] = arguments.channel;
    GOLDLINK_TRY_ASSIGN(auto receiver,
                        VersionReceiver::begin(to, image_path(name) + "/transfers", wishes));
    const auto done = [&]() -> Result<json::value> {
        GOLDLINK_TRY_ASSIGN(const Manifest manifest, from.manifest());
        auto bad = BadChunks::leave_to_receiver;
        return receiver.deliver(
            [&]() -> Result<Manifest> {
                GOLDLINK_TRY(copy_missing(from, receiver, manifest,
                                          fmt::format("copying {}", from.subject()),
                                          std::exchange(bad, BadChunks::refuse)));
                return manifest;
            },
            false);
    }();
    if (!done) {
        receiver.drop();
        return Failure(Error(done.error())
                           .with_context(fmt::format("copying {} from {} to {} (nothing of it is "
                                                     "kept: the same command begins again)",
                                                     from.subject(), from.server(), to.url())));
    }
    if (session.json) {
        json::object shown = done->as_object();
        shown["sent_bytes"] = receiver.sent_bytes();
        print_json(shown);
        return {};
    }
    print(fmt::format("{} is ready: {} of {} sent, {} new chunks\n",
                      printable(text_of(*done, "subject")), format_bytes(receiver.sent_bytes()),
                      format_bytes(from.stored_bytes()), receiver.sent_chunks()));
    return {};
}

void add_copy_verb(CLI::App& noun, Session& session, bool push) {
    const auto arguments = std::make_shared<Arguments>();
    const std::string more =
        "Only chunks that the receiver lacks travel, compressed, by way of this machine, and are\n"
        "checked there by their SHA-256. The other server's token is read from a file. Where the\n"
        "receiver has the version but found it damaged, it is mended.";
    auto* verb = add_verb(
        noun, session,
        push ? VerbText{"push", "Copy a version to another server", more,
                        "goldlink image push win11 --to http://branch:8080 --to-token-file "
                        "branch.token\n"
                        "goldlink image push win11@7 --to http://branch:8080 --to-token-file t "
                        "--as win11-head --channel test"}
             : VerbText{"pull", "Copy a version from another server", more,
                        "goldlink image pull win11 --from http://head:8080 --from-token-file "
                        "head.token\n"
                        "goldlink image pull win11:test --from http://head:8080 --from-token-file "
                        "t"},
        [&session, arguments, push]() -> Result<> {
            GOLDLINK_TRY_ASSIGN(auto here, connect(session));
            GOLDLINK_TRY_ASSIGN(auto other, connect_to(arguments->url, arguments->token_file));
            return push ? copy_version(session, *arguments, here, other)
                        : copy_version(session, *arguments, other, here);
        });
    verb->add_option("IMAGE", arguments->ref, "NAME, NAME:channel or NAME@version")
        ->required()
        ->check(check_image_ref);
    const std::string side = push ? "--to" : "--from";
    verb->add_option(side, arguments->url, "The other server, http://HOST:PORT")
        ->required()
        ->type_name("URL");
    verb->add_option(side + "-token-file", arguments->token_file, "A file with its token")
        ->type_name("FILE");
    verb->add_option("--as", arguments->as, "The image's name at the receiver")
        ->type_name("NAME")
        ->check(check_image_name);
    verb->add_option("--channel", arguments->channel,
                     "Also point this channel at the new version there")
        ->type_name("NAME");
}

}  // namespace

void add_image_copies(CLI::App& noun, Session& session) {
    add_copy_verb(noun, session, true);
    add_copy_verb(noun, session, false);
}

}  // namespace goldlink::cli
