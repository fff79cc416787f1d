// goldlink image push and pull: a version from one server to another, by way of this machine. The
// receiver is asked which chunks it lacks, and only these travel, compressed as they came.
#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <thread>

#include "common/bytes.hpp"
#include "common/chunk_frame.hpp"
#include "common/file.hpp"
#include "manager/cli/connect.hpp"
#include "manager/cli/image_verbs.hpp"
#include "manager/cli/progress.hpp"

namespace goldlink::cli {

namespace {

using std::chrono::milliseconds;

constexpr int kMaxTries = 8;
constexpr milliseconds kFirstPause{250}, kLongestPause{8000};
constexpr std::size_t kManifestHeaderBytes = 64;
constexpr std::uint64_t kMaxManifestBytes = std::uint64_t{9} << 30;

struct Arguments {
    std::string ref, url, token_file, as, channel;
};

// Repeats what a lost connection or a server that is away for a moment kept from being done. Every
// call of a transfer may be made twice.
template <typename Work>
auto patiently(Work work) -> decltype(work()) {
    milliseconds pause = kFirstPause;
    for (int tries = 1;; ++tries) {
        auto result = work();
        if (result || tries >= kMaxTries ||
            (result.error().kind != ErrorKind::unavailable &&
             result.error().kind != ErrorKind::timeout))
            return result;
        std::this_thread::sleep_for(pause);
        pause = std::min(pause * 2, kLongestPause);
    }
}

Result<Api> connect_to(const Arguments& arguments) {
    if (arguments.token_file.empty()) return Api(arguments.url, "", "");
    GOLDLINK_TRY_ASSIGN(std::string token, read_file(arguments.token_file, 4096));
    while (!token.empty() && (token.back() == '\n' || token.back() == ' ')) token.pop_back();
    return Api(arguments.url, token, arguments.token_file);
}

class Copy {
  public:
    Copy(Api& from, Api& to, std::string version_path, std::string id, const std::string& title)
        : from_(from),
          to_(to),
          version_path_(std::move(version_path)),
          transfer_path_("/transfers/" + id),
          title_(title) {}

    Result<json::value> run() {
        GOLDLINK_TRY_ASSIGN(manifest_, patiently([this] { return fetch_manifest(); }));
        GOLDLINK_TRY_ASSIGN(const auto digests, distinct_digests());
        Progress progress(title_, digests.size() * kFrameChunkBytes);
        for (std::size_t at = 0; at < digests.size(); at += kMaxAskedChunks) {
            const std::size_t count = std::min(kMaxAskedChunks, digests.size() - at);
            GOLDLINK_TRY(send_missing(&digests[at], count));
            progress.update((at + count) * kFrameChunkBytes, digests.size() * kFrameChunkBytes);
        }
        progress.finish();
        return patiently([this] { return send_manifest(); });
    }

    std::uint64_t sent_bytes() const { return sent_bytes_; }
    std::uint64_t sent_chunks() const { return sent_chunks_; }

  private:
    using Digest = std::string_view;  // 32 bytes of manifest_

    Result<std::string> fetch_manifest() {
        std::string bytes;
        GOLDLINK_TRY(from_.download(version_path_ + "/manifest", [&bytes](std::string_view more) {
            if (bytes.size() + more.size() > kMaxManifestBytes) return false;
            bytes += more;
            return true;
        }));
        return bytes;
    }

    // The receiver checks the manifest against its digest; here only its shape matters.
    Result<std::vector<Digest>> distinct_digests() const {
        const std::string_view all = manifest_;
        if (all.size() < kManifestHeaderBytes || !all.starts_with("GLmanif\n") ||
            (all.size() - kManifestHeaderBytes) % kDigestBytes != 0)
            return failure(
                ErrorKind::invalid,
                fmt::format("{} gives no manifest that this program can read", from_.url()));
        std::vector<Digest> digests;
        for (std::size_t at = kManifestHeaderBytes; at < all.size(); at += kDigestBytes)
            if (const Digest one = all.substr(at, kDigestBytes);
                one.find_first_not_of('\0') != Digest::npos)
                digests.push_back(one);
        std::sort(digests.begin(), digests.end());
        digests.erase(std::unique(digests.begin(), digests.end()), digests.end());
        return digests;
    }

    Result<> send_missing(const Digest* digests, std::size_t count) {
        std::string asked;
        for (std::size_t i = 0; i < count; ++i) asked += digests[i];
        GOLDLINK_TRY_ASSIGN(const std::string missing, patiently([&] {
                                return to_.octets("POST", transfer_path_ + "/missing", asked);
                            }));
        sent_bytes_ += asked.size();
        if (missing.size() != count)
            return failure(ErrorKind::invalid,
                           fmt::format("{} answers another question than was asked", to_.url()));
        std::string wanted;
        for (std::size_t i = 0; i < count; ++i) {
            if (missing[i] != 0) wanted += digests[i];
            const bool last = i + 1 == count;
            if (wanted.size() < kMaxFrameChunks * kDigestBytes && !(last && !wanted.empty()))
                continue;
            GOLDLINK_TRY(send_chunks(wanted));
            wanted.clear();
        }
        return {};
    }

    Result<> send_chunks(const std::string& wanted) {
        GOLDLINK_TRY_ASSIGN(const std::string frame, patiently([&] {
                                return from_.octets("POST", version_path_ + "/chunks", wanted);
                            }));
        GOLDLINK_TRY(
            patiently([&] { return to_.octets("PUT", transfer_path_ + "/chunks", frame); }));
        sent_bytes_ += frame.size();
        sent_chunks_ += wanted.size() / kDigestBytes;
        return {};
    }

    Result<json::value> send_manifest() {
        std::size_t at = 0;
        sent_bytes_ += manifest_.size();
        return to_.upload(transfer_path_ + "/manifest", manifest_.size(),
                          [&](char* buffer, std::size_t size) -> Result<std::size_t> {
                              const std::size_t n = manifest_.copy(buffer, size, at);
                              at += n;
                              return n;
                          });
    }

    Api& from_;
    Api& to_;
    const std::string version_path_, transfer_path_, title_;
    std::string manifest_;
    std::uint64_t sent_bytes_ = 0, sent_chunks_ = 0;
};

const json::value* version_in(const json::value& image, std::int64_t number) {
    for (const auto& version : items_of(image, "versions"))
        if (int_of(version, "number") == number) return &version;
    return nullptr;
}

// A version of the same content, where the receiver's image has one.
std::optional<std::int64_t> there_already(Api& to, const std::string& name,
                                          const std::string& digest) {
    const auto image = to.get(image_path(name));
    if (!image) return {};
    for (const auto& version : items_of(*image, "versions"))
        if (text_of(version, "digest") == digest && text_of(version, "state") == "ready")
            return int_of(version, "number");
    return {};
}

Result<> copy_version(const Session& session, const Arguments& arguments, Api& from, Api& to) {
    GOLDLINK_TRY_ASSIGN(const auto ref, parse_image_ref(arguments.ref));
    GOLDLINK_TRY_ASSIGN(const auto image, from.get(image_path(ref.name)));
    GOLDLINK_TRY_ASSIGN(const auto number, version_of(image, ref));
    const auto subject = fmt::format("{}@{}", ref.name, number);
    const json::value* const version = version_in(image, number);
    if (version == nullptr || text_of(*version, "state") != "ready")
        return failure(ErrorKind::not_found,
                       fmt::format("{} has no version {} that is ready", from.url(), subject));
    const auto digest = text_of(*version, "digest");
    const auto name = arguments.as.empty() ? ref.name : arguments.as;
    if (const auto known = there_already(to, name, digest)) {
        if (session.json)
            print_json({{"subject", fmt::format("{}@{}", name, *known)}, {"sent_bytes", 0}});
        else
            print(fmt::format("{}@{} is {} already\n", name, *known, subject));
        return {};
    }
    json::object wanted{{"digest", digest},
                        {"size_bytes", int_of(*version, "size_bytes")},
                        {"kind", text_of(image, "kind", "disk")},
                        {"note", text_of(*version, "note")}};
    if (!arguments.channel.empty()) wanted["channel"] = arguments.channel;
    GOLDLINK_TRY_ASSIGN(const auto task, to.post(image_path(name) + "/transfers", wanted));
    const auto id = text_of(task, "id");
    Copy copy(from, to, fmt::format("{}/versions/{}", image_path(ref.name), number),
              http::percent_encode(id), fmt::format("copying {}", subject));
    const auto done = copy.run();
    if (!done) {
        (void)to.remove("/tasks/" + http::percent_encode(id));
        Error error = done.error();
        return Failure(std::move(error).with_context(fmt::format(
            "copying {} from {} to {} (nothing of it is kept: the same command begins again)",
            subject, from.url(), to.url())));
    }
    if (session.json) {
        json::object shown = done->as_object();
        shown["sent_bytes"] = copy.sent_bytes();
        print_json(shown);
        return {};
    }
    print(fmt::format("{} is ready: {} of {} sent, {} new chunks\n",
                      printable(text_of(*done, "subject")), format_bytes(copy.sent_bytes()),
                      format_bytes(static_cast<std::uint64_t>(
                          std::max<std::int64_t>(int_of(*version, "stored_bytes"), 0))),
                      copy.sent_chunks()));
    return {};
}

void add_copy_verb(CLI::App& noun, Session& session, bool push) {
    const auto arguments = std::make_shared<Arguments>();
    const std::string more =
        "Only chunks that the receiver lacks travel, compressed, by way of this machine, and are\n"
        "checked there by their SHA-256. The other server's token is read from a file.";
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
            GOLDLINK_TRY_ASSIGN(auto other, connect_to(*arguments));
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
