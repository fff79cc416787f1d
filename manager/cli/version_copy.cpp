#include "manager/cli/version_copy.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "common/chunk_frame.hpp"
#include "manager/cli/image_verbs.hpp"
#include "manager/cli/patience.hpp"
#include "manager/cli/progress.hpp"

namespace goldlink::cli {

namespace {

class ChunkCopy {
  public:
    ChunkCopy(RemoteVersion& from, VersionReceiver& to, BadChunks bad)
        : from_(from), to_(to), skip_bad_(bad == BadChunks::skip) {
        // What is packed, the giving server checks.
        if (bad != BadChunks::leave_to_receiver) line_.only_packed();
    }

    Result<> copy(std::span<const Digest> asked) {
        GOLDLINK_TRY_ASSIGN(const auto missing, to_.missing(asked));
        std::vector<Digest> wanted;
        for (std::size_t i = 0; i < asked.size(); ++i)
            if (missing[i]) wanted.push_back(asked[i]);
        return line_.each(
            std::span<const Digest>(wanted), [this](auto some) { return send_packed(some); },
            [this](auto some, std::size_t& done) {
                const auto sent = send_plain(some);
                done = sent ? some.size() : 0;
                return sent;
            });
    }

  private:
    Result<> send_plain(std::span<const Digest> wanted) {
        GOLDLINK_TRY_ASSIGN(const std::string octets, from_.plain_chunks(wanted));
        std::vector<Bytes> chunks;
        for (std::size_t at = 0; at < octets.size(); at += kChunkBytes)
            chunks.push_back(as_bytes(octets).subspan(at, kChunkBytes));
        return to_.send_plain(chunks);
    }

    Result<> send_packed(std::span<const Digest> wanted) {
        const auto frame = from_.frame(wanted);
        if (frame) return to_.send(*frame, wanted.size());
        if (!skip_bad_ || may_pass(frame.error())) return Failure(frame.error());
        if (wanted.size() == 1) return {};
        for (std::size_t i = 0; i < wanted.size(); ++i)
            GOLDLINK_TRY(send_packed(wanted.subspan(i, 1)));
        return {};
    }

    RemoteVersion& from_;
    VersionReceiver& to_;
    const bool skip_bad_;
    LineChoice line_;
};

}  // namespace

Result<> copy_missing(RemoteVersion& from, VersionReceiver& to, const Manifest& manifest,
                      const std::string& title, BadChunks bad) {
    const auto digests = manifest.distinct_chunks();
    const std::uint64_t total_bytes = digests.size() * kChunkBytes;
    Progress progress(title, total_bytes);
    ChunkCopy chunks(from, to, bad);
    for (std::size_t at = 0; at < digests.size(); at += kMaxAskedChunks) {
        const auto end = std::min(digests.size(), at + kMaxAskedChunks);
        GOLDLINK_TRY(chunks.copy(std::span(digests).subspan(at, end - at)));
        progress.update(end * kChunkBytes, total_bytes);
    }
    progress.finish();
    return {};
}

Result<Mending> mend_version(Api& to, const std::string& image, std::int64_t number,
                             RemoteVersion& from) {
    const auto subject = fmt::format("{}@{}", image, number);
    GOLDLINK_TRY_ASSIGN(const Manifest manifest, from.manifest());
    GOLDLINK_TRY_ASSIGN(
        auto receiver,
        VersionReceiver::begin(to, fmt::format("{}/versions/{}/repair", image_path(image), number),
                               {}));
    const auto done = [&]() -> Result<json::value> {
        GOLDLINK_TRY(copy_missing(from, receiver, manifest, fmt::format("mending {}", subject),
                                  BadChunks::skip));
        return receiver.finish(manifest, false);
    }();
    if (!done) {
        receiver.drop();
        return Failure(Error(done.error())
                           .with_context(fmt::format("mending {} of {} from {} (what came already "
                                                     "is mended: the same command goes on)",
                                                     subject, to.url(), from.server())));
    }
    GOLDLINK_TRY_ASSIGN(Mending mending, mending_of(*done, to.url()));
    mending.sent_bytes = receiver.sent_bytes();
    return mending;
}

Result<Mending> mending_of(json::value task, const std::string& server) {
    const json::value* const result = member(task, "result");
    if (result == nullptr || !result->is_object())
        return failure(ErrorKind::invalid,
                       fmt::format("{} does not say what it has mended", server));
    Mending mending;
    const auto count = [result](std::string_view name) {
        return static_cast<std::uint64_t>(std::max<std::int64_t>(int_of(*result, name), 0));
    };
    mending.bad_chunks = count("bad_chunks");
    mending.mended_chunks = std::min(count("mended_chunks"), mending.bad_chunks);
    const json::value* const anew = member(*result, "manifest_mended");
    mending.manifest_mended = anew != nullptr && anew->is_bool() && anew->as_bool();
    mending.task = std::move(task);
    return mending;
}

std::string mending_text(const std::string& subject, const Mending& mending,
                         const std::string& from) {
    std::string text;
    if (mending.manifest_mended)
        text += fmt::format("the list of {}'s chunks is made anew\n", subject);
    if (mending.bad_chunks > 0)
        text += fmt::format("{}: {} had {} of the {} missing chunk{}\n", subject, from,
                            mending.mended_chunks, mending.bad_chunks,
                            mending.bad_chunks == 1 ? "" : "s");
    else if (!mending.manifest_mended)
        text += fmt::format("{} is sound: there was nothing to mend\n", subject);
    return text;
}

Failure still_damaged(const std::string& subject, const Mending& mending) {
    const std::uint64_t left = mending.bad_chunks - mending.mended_chunks;
    return failure(
        ErrorKind::corrupt,
        fmt::format("{} is still damaged in {} place{}\n  to do: try another file or server that "
                    "may have them: the image as it was imported, an export, a later version; "
                    "'goldlink image verify {}' names the places",
                    subject, left, left == 1 ? "" : "s", subject));
}

}  // namespace goldlink::cli
