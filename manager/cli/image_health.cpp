// goldlink image verify: is a version as it was stored?
#include <fmt/format.h>

#include <memory>

#include "manager/cli/connect.hpp"
#include "manager/cli/image_verbs.hpp"
#include "manager/cli/text.hpp"

namespace goldlink::cli {

std::string repair_advice(const std::string& subject) {
    return fmt::format(
        "check the disk that the image store is on, then mend it with a file that has the data: "
        "'goldlink image repair {} --from FILE', or from another server that has it, --from URL",
        subject);
}

Result<json::value> verify_version(Api& api, const std::string& image, std::int64_t number) {
    GOLDLINK_TRY_ASSIGN(
        auto task,
        api.post(fmt::format("{}/versions/{}/verify", image_path(image), number), json::object()));
    return follow_task(api, std::move(task), fmt::format("verifying {}@{}", image, number));
}

const json::array& findings_of(const json::value& verified) {
    const auto* result = member(verified, "result");
    return result == nullptr ? items_of(verified, "findings") : items_of(*result, "findings");
}

namespace {

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

Result<> verify_image(const Session& session, const std::string& named) {
    GOLDLINK_TRY_ASSIGN(const auto ref, parse_image_ref(named));
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(auto image, api.get(image_path(ref.name)));
    GOLDLINK_TRY_ASSIGN(const auto number, version_of(image, ref));
    const auto subject = fmt::format("{}@{}", ref.name, number);
    GOLDLINK_TRY_ASSIGN(const auto done, verify_version(api, ref.name, number));
    if (session.json) print_json(done);
    const auto& findings = findings_of(done);
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

}  // namespace

void add_image_health(CLI::App& noun, Session& session) {
    const auto ref = std::make_shared<std::string>();
    auto* verify =
        add_verb(noun, session,
                 {"verify", "Read and hash every chunk of a version",
                  "Exit code 1 when something is damaged; each damaged place is printed.",
                  "goldlink image verify win11\ngoldlink image verify win11@7"},
                 [&session, ref] { return verify_image(session, *ref); });
    verify->add_option("IMAGE", *ref, "NAME, NAME:channel or NAME@version")
        ->required()
        ->check(check_image_ref);
}

}  // namespace goldlink::cli
