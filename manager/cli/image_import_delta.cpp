// goldlink image import of a raw disk: the disk is read once; each window of it is hashed, asked
// for, and what the server lacks of it is sent, while it is still in memory and the next one is
// being read.
#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "common/chunk_frame.hpp"
#include "manager/cli/connect.hpp"
#include "manager/cli/disk_scan.hpp"
#include "manager/cli/image_delta.hpp"
#include "manager/cli/image_verbs.hpp"
#include "manager/cli/line_choice.hpp"
#include "manager/cli/patience.hpp"
#include "manager/cli/progress.hpp"
#include "manager/cli/raw_disk.hpp"
#include "manager/cli/version_receiver.hpp"

namespace goldlink::cli {

namespace {

static_assert(DiskScan::kWindowChunks <= kMaxAskedChunks);

class DiskSending {
  public:
    DiskSending(const RawDisk& disk, VersionReceiver& receiver, const std::string& image)
        : disk_(disk), receiver_(receiver), image_(image) {}

    Result<json::value> run() {
        return receiver_.deliver([this] { return send_all(); }, true);
    }

    std::uint64_t size_bytes() const { return disk_bytes_of_file(disk_.file_bytes()); }

  private:
    // A disk that is sent again is read again.
    Result<Manifest> send_all() {
        manifest_ = {};
        manifest_.size_bytes = size_bytes();
        Progress progress(fmt::format("sending {}", image_), manifest_.size_bytes);
        DiskScan scan(disk_.fd(), disk_.path(), disk_.file_bytes(), manifest_.size_bytes);
        for (;;) {
            GOLDLINK_TRY_ASSIGN(const DiskScan::Window* window, scan.next());
            if (window == nullptr) break;
            GOLDLINK_TRY(send_missing(*window));
            for (const Digest& digest : window->digests) manifest_.chunks.push_back(digest);
            progress.update(std::min(manifest_.chunks.size() * kChunkBytes, manifest_.size_bytes),
                            manifest_.size_bytes);
        }
        GOLDLINK_TRY(disk_.check_unchanged());
        progress.finish();
        return manifest_;
    }

    Result<> send_missing(const DiskScan::Window& window) {
        std::vector<std::size_t> places;
        std::vector<Digest> asked;
        std::unordered_set<Digest, DigestHash> seen;
        for (std::size_t i = 0; i < window.digests.size(); ++i) {
            if (is_zero(window.digests[i]) || !seen.insert(window.digests[i]).second) continue;
            places.push_back(i);
            asked.push_back(window.digests[i]);
        }
        if (asked.empty()) return receiver_.keep_alive();
        GOLDLINK_TRY_ASSIGN(const auto missing, receiver_.missing(asked));
        std::vector<Bytes> chunks;
        for (std::size_t i = 0; i < places.size(); ++i)
            if (missing[i]) chunks.push_back(window.chunk(places[i]));
        return line_.each(
            std::span<const Bytes>(chunks), [this](auto some) { return send_packed(some); },
            [this](auto some, std::size_t& done) {
                const auto sent = receiver_.send_plain(some);
                done = sent ? some.size() : 0;
                return sent;
            });
    }

    Result<> send_packed(std::span<const Bytes> chunks) {
        frame_.clear();
        for (const Bytes chunk : chunks) frame_.insert(frame_.end(), chunk.begin(), chunk.end());
        GOLDLINK_TRY_ASSIGN(const std::string frame, pack_chunks(frame_));
        return receiver_.send(frame, chunks.size());
    }

    const RawDisk& disk_;
    VersionReceiver& receiver_;
    const std::string& image_;
    Manifest manifest_;
    LineChoice line_;
    std::vector<std::uint8_t> frame_;  // the next one's chunks
};

Result<VersionReceiver> begin(Api& api, const DeltaImport& wanted, const RawDisk& disk) {
    if (!wanted.resume.empty()) return VersionReceiver::resume(api, wanted.resume, wanted.image);
    json::object wishes{{"size_bytes", disk_bytes_of_file(disk.file_bytes())}};
    if (!wanted.note.empty()) wishes["note"] = wanted.note;
    if (!wanted.channel.empty()) wishes["channel"] = wanted.channel;
    return VersionReceiver::begin(api, image_path(wanted.image) + "/transfers", wishes);
}

}  // namespace

Result<> import_by_delta(const Session& session, const DeltaImport& wanted) {
    GOLDLINK_TRY_ASSIGN(const RawDisk disk, RawDisk::open(wanted.file));
    if (!wanted.surely_raw) GOLDLINK_TRY(disk.check_is_raw());
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    const auto importing = fmt::format("importing {}", wanted.file);
    auto receiver = begin(api, wanted, disk);
    if (!receiver) return Failure(std::move(receiver).error().with_context(importing));
    DiskSending sending(disk, *receiver, wanted.image);
    const auto done = sending.run();
    if (!done) {
        Error error = Error(done.error()).with_context(importing);
        if (may_pass(error))
            error.message += fmt::format(
                "\n  to go on: the same command with --resume {}; what was sent is kept for a day, "
                "while nobody wants its space, and is sent again after that",
                receiver->id());
        else if (wanted.resume.empty())
            receiver->drop();
        return Failure(std::move(error));
    }
    if (session.json) {
        json::object shown = done->as_object();
        shown["sent_bytes"] = receiver->sent_bytes();
        shown["sent_chunks"] = receiver->sent_chunks();
        print_json(shown);
        return {};
    }
    if (!wanted.tells_delta) {
        print(fmt::format("{} is ready\n", printable(text_of(*done, "subject", wanted.image))));
        return {};
    }
    print(fmt::format("{} is ready: {} of {} sent, {} new chunks\n",
                      printable(text_of(*done, "subject", wanted.image)),
                      format_bytes(receiver->sent_bytes()), format_bytes(sending.size_bytes()),
                      receiver->sent_chunks()));
    return {};
}

}  // namespace goldlink::cli
