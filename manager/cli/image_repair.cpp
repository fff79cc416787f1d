// goldlink image repair: a damaged version is mended from a file, or from another server that has a
// version of the same content.
#include <fmt/format.h>

#include <memory>

#include "manager/cli/connect.hpp"
#include "manager/cli/image_verbs.hpp"
#include "manager/cli/progress.hpp"
#include "manager/cli/source_file.hpp"
#include "manager/cli/version_copy.hpp"

namespace goldlink::cli {

namespace {

struct Arguments {
    std::string ref, from, token_file, format;
};

bool names_a_server(const std::string& from) {
    return from.starts_with("http://") || from.starts_with("https://");
}

// What was said of a repair, in the order in which it is told.
Result<> tell(const Session& session, const std::string& subject, const std::string& from,
              const Mending& mending) {
    if (session.json)
        print_json(mending.task);
    else
        print(mending_text(subject, mending, from));
    if (!mending.whole()) return still_damaged(subject, mending);
    return {};
}

Result<Mending> mend_from_file(Api& api, const Arguments& arguments, const std::string& image,
                               std::int64_t number) {
    const auto subject = fmt::format("{}@{}", image, number);
    GOLDLINK_TRY_ASSIGN(auto source, SourceFile::open(arguments.from));
    const auto path = fmt::format("{}/versions/{}/repair", image_path(image), number) +
                      query({{"format", arguments.format}, {"filename", source.name()}});
    Progress progress(fmt::format("sending {}", arguments.from), source.size());
    auto task = api.upload(path, source.size(), [&](char* buffer, std::size_t size) {
        auto count = source.read(buffer, size);
        progress.update(source.offset(), source.size());
        return count;
    });
    if (!task)
        return Failure(std::move(task).error().with_context(fmt::format("repairing {}", subject)));
    progress.finish();
    GOLDLINK_TRY_ASSIGN(auto done, follow_task(api, std::move(*task), "repairing " + subject));
    return mending_of(std::move(done), api.url());
}

// What is bad must be known before it can be asked for, so the version is read first. Of one whose
// manifest is lost that is possible only once the manifest is there again.
Result<Mending> mend_from_server(Api& api, const Arguments& arguments, const std::string& image,
                                 std::int64_t number, const Digest& digest) {
    GOLDLINK_TRY_ASSIGN(auto peer, connect_to(arguments.from, arguments.token_file));
    GOLDLINK_TRY_ASSIGN(auto from, RemoteVersion::find_content(peer, image, digest));
    if (!from)
        return failure(ErrorKind::not_found,
                       fmt::format("{} has no version with the content of {}@{} (digest {})\n  to "
                                   "do: ask another server, or give a file that has the data",
                                   arguments.from, image, number, to_hex(digest)));
    const auto verified = verify_version(api, image, number);
    if (!verified && verified.error().kind != ErrorKind::io) return Failure(verified.error());
    GOLDLINK_TRY_ASSIGN(Mending mending, mend_version(api, image, number, *from));
    if (verified || !mending.manifest_mended) return mending;
    GOLDLINK_TRY_ASSIGN(const auto again, verify_version(api, image, number));
    if (findings_of(again).empty()) return mending;
    GOLDLINK_TRY_ASSIGN(Mending more, mend_version(api, image, number, *from));
    more.manifest_mended = true;
    more.bad_chunks += mending.mended_chunks;
    more.mended_chunks += mending.mended_chunks;
    more.sent_bytes += mending.sent_bytes;
    return more;
}

Result<> repair_image(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(const auto ref, parse_image_ref(arguments.ref));
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(const auto image, api.get(image_path(ref.name)));
    GOLDLINK_TRY_ASSIGN(const auto number, version_of(image, ref));
    const auto subject = fmt::format("{}@{}", ref.name, number);
    if (!names_a_server(arguments.from)) {
        GOLDLINK_TRY_ASSIGN(const auto mending, mend_from_file(api, arguments, ref.name, number));
        return tell(session, subject, arguments.from, mending);
    }
    const json::value* const version = ready_version(image, number);
    if (version == nullptr)
        return failure(ErrorKind::not_found,
                       fmt::format("{} has no version {} that is ready", api.url(), subject));
    GOLDLINK_TRY_ASSIGN(const Digest digest, parse_digest(text_of(*version, "digest")));
    GOLDLINK_TRY_ASSIGN(const auto mending,
                        mend_from_server(api, arguments, ref.name, number, digest));
    return tell(session, subject, arguments.from, mending);
}

}  // namespace

void add_image_repair(CLI::App& noun, Session& session) {
    const auto arguments = std::make_shared<Arguments>();
    auto* repair = add_verb(
        noun, session,
        {"repair", "Mend a damaged version from a file or another server",
         "FILE is the image as it was imported, an export of the version, or any disk image\n"
         "that has the missing data, in any format that import takes. Of another server the\n"
         "version of the same content is taken, and only the damaged chunks travel. What comes is\n"
         "mended, and running clients read it again at once; no version is made. Exit code 1 when\n"
         "something is left.",
         "goldlink image repair win11 --from win11.vhdx\n"
         "goldlink image repair win11@7 --from /backup/win11-7.qcow2\n"
         "goldlink image repair win11@7 --from http://branch:8080 --from-token-file branch.token"},
        [&session, arguments] { return repair_image(session, *arguments); });
    repair->add_option("IMAGE", arguments->ref, "NAME, NAME:channel or NAME@version")
        ->required()
        ->check(check_image_ref);
    repair->add_option("--from", arguments->from, "The disk image, or a server: http://HOST:PORT")
        ->required()
        ->type_name("FILE|URL");
    repair
        ->add_option("--from-token-file", arguments->token_file, "A file with that server's token")
        ->type_name("FILE");
    repair->add_option("--format", arguments->format, "The file's, instead of detecting it")
        ->check(CLI::IsMember({"raw", "iso", "vhd", "vhdx", "vmdk", "qcow2"}));
}

}  // namespace goldlink::cli
