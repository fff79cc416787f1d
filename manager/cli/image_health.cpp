// goldlink image verify and repair: is a version as it was stored, and what mends it.
#include <fmt/format.h>

#include <memory>

#include "manager/cli/connect.hpp"
#include "manager/cli/image_verbs.hpp"
#include "manager/cli/progress.hpp"
#include "manager/cli/source_file.hpp"
#include "manager/cli/text.hpp"

namespace goldlink::cli {

std::string repair_advice(const std::string& subject) {
    return fmt::format(
        "check the disk that the image store is on, then mend it with a file that has the data: "
        "'goldlink image repair {} --from FILE'",
        subject);
}

namespace {

struct Arguments {
    std::string ref;
    std::string file;
    std::string format;
};

// One finding of a verify as a line, whatever members it has.
std::string finding_line(const json::value& finding) {
    const auto* object = finding.if_object();
    if (object == nullptr)
        return finding.is_string() ? std::string(finding.as_string()) : json::serialize(finding);
    std::string out;
    for (const auto& [name, value] : *object) {
        if (!out.empty()) out += ", ";
        out += std::string(name) + " " +
               (value.is_string() ? std::string(value.as_string()) : json::serialize(value));
    }
    return out;
}

// What is bad of a version, chunk by chunk, as an admin can use it; "" of other findings.
std::string damage_line(const json::value& finding) {
    const auto chunk = text_of(finding, "chunk_digest");
    if (chunk.empty()) return {};
    const auto why = text_of(finding, "why", "corrupt");
    std::string out = fmt::format("chunk {} is {}:", chunk.substr(0, 12), why);
    for (const auto& use : items_of(finding, "uses")) {
        const auto image = text_of(use, "image");
        out += fmt::format("\n  {} bytes {} to {}",
                           image.empty() ? text_of(use, "version").substr(0, 12)
                                         : fmt::format("{}@{}", image, int_of(use, "number")),
                           int_of(use, "offset_bytes"), int_of(use, "offset_bytes") + 65535);
    }
    std::string links;
    for (const auto& link : items_of(finding, "links"))
        if (link.is_string()) links += (links.empty() ? "" : ", ") + std::string(link.as_string());
    if (!links.empty()) out += "\n  read by " + links;
    return out;
}

Result<> verify_image(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(const auto ref, parse_image_ref(arguments.ref));
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(auto image, api.get(image_path(ref.name)));
    GOLDLINK_TRY_ASSIGN(const auto number, version_of(image, ref));
    const auto subject = fmt::format("{}@{}", ref.name, number);
    GOLDLINK_TRY_ASSIGN(auto task,
                        api.post(fmt::format("{}/versions/{}/verify", image_path(ref.name), number),
                                 json::object()));
    GOLDLINK_TRY_ASSIGN(auto done, follow_task(api, std::move(task), "verifying " + subject));
    if (session.json) print_json(done);
    const auto* result = member(done, "result");
    const auto& findings =
        result == nullptr ? items_of(done, "findings") : items_of(*result, "findings");
    if (!session.json) {
        for (const auto& finding : findings) {
            const auto line = damage_line(finding);
            print(line.empty() ? printable(finding_line(finding)) + "\n" : line + "\n");
        }
        if (findings.empty())
            print(fmt::format("{} is sound: {} read and hashed\n", subject,
                              size_cell(done, "total_bytes")));
    }
    if (findings.empty()) return {};
    return failure(
        ErrorKind::corrupt,
        fmt::format(
            "{} is damaged in {} place{}: reads of it fail, all else is served\n  to do: {}",
            subject, findings.size(), findings.size() == 1 ? "" : "s", repair_advice(subject)));
}

Result<> repair_image(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto source, SourceFile::open(arguments.file));
    GOLDLINK_TRY_ASSIGN(const auto ref, parse_image_ref(arguments.ref));
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(auto image, api.get(image_path(ref.name)));
    GOLDLINK_TRY_ASSIGN(const auto number, version_of(image, ref));
    const auto subject = fmt::format("{}@{}", ref.name, number);
    const auto path = fmt::format("{}/versions/{}/repair", image_path(ref.name), number) +
                      query({{"format", arguments.format}, {"filename", source.name()}});
    Progress progress(fmt::format("sending {}", arguments.file), source.size());
    auto task = api.upload(path, source.size(), [&](char* buffer, std::size_t size) {
        auto count = source.read(buffer, size);
        progress.update(source.offset(), source.size());
        return count;
    });
    if (!task)
        return Failure(std::move(task).error().with_context(fmt::format("repairing {}", subject)));
    progress.finish();
    GOLDLINK_TRY_ASSIGN(auto done, follow_task(api, std::move(*task), "repairing " + subject));
    if (session.json) print_json(done);
    const auto* result = member(done, "result");
    const json::value none = json::object();
    const auto& said = result == nullptr ? none : *result;
    const auto bad = int_of(said, "bad_chunks"), mended = int_of(said, "mended_chunks");
    const auto* manifest = member(said, "manifest_mended");
    const bool manifest_mended = manifest != nullptr && manifest->is_bool() && manifest->as_bool();
    if (!session.json) {
        if (manifest_mended) print(fmt::format("the list of {}'s chunks is made anew\n", subject));
        if (bad > 0)
            print(fmt::format("{}: {} had {} of the {} missing chunk{}\n", subject, arguments.file,
                              mended, bad, bad == 1 ? "" : "s"));
        else if (!manifest_mended)
            print(fmt::format("{} is sound: there was nothing to mend\n", subject));
    }
    if (mended == bad) return {};
    return failure(ErrorKind::corrupt,
                   fmt::format("{} is still damaged in {} place{}\n  to do: try another file that "
                               "may have them: the image as it was imported, an export, a later "
                               "version; 'goldlink image verify {}' names the places",
                               subject, bad - mended, bad - mended == 1 ? "" : "s", subject));
}

}  // namespace

void add_image_health(CLI::App& noun, Session& session) {
    const auto arguments = std::make_shared<Arguments>();
    const auto run = [&session, arguments](Result<> (*verb)(const Session&, const Arguments&)) {
        return [&session, arguments, verb] { return verb(session, *arguments); };
    };
    const auto add_ref = [&](CLI::App* verb) {
        verb->add_option("IMAGE", arguments->ref, "NAME, NAME:channel or NAME@version")
            ->required()
            ->check(check_image_ref);
    };
    add_ref(add_verb(noun, session,
                     {"verify", "Read and hash every chunk of a version",
                      "Exit code 1 when something is damaged; each damaged place is printed.",
                      "goldlink image verify win11\ngoldlink image verify win11@7"},
                     run(verify_image)));
    auto* repair = add_verb(
        noun, session,
        {"repair", "Mend a damaged version from a file",
         "FILE is the image as it was imported, an export of the version, or any disk image that "
         "has\n"
         "the missing data, in any format that import takes. What it has is mended, and running\n"
         "clients read it again at once; no version is made. Exit code 1 when something is left.",
         "goldlink image repair win11 --from win11.vhdx\n"
         "goldlink image repair win11@7 --from /backup/win11-7.qcow2"},
        run(repair_image));
    add_ref(repair);
    repair->add_option("--from", arguments->file, "The disk image")->required()->type_name("FILE");
    repair->add_option("--format", arguments->format, "Instead of detecting it")
        ->check(CLI::IsMember({"raw", "iso", "vhd", "vhdx", "vmdk", "qcow2"}));
}

}  // namespace goldlink::cli
