#include "manager/cli/version_receiver.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "common/chunk_frame.hpp"
#include "manager/cli/patience.hpp"
#include "manager/cli/remote_version.hpp"
#include "manager/cli/session.hpp"

namespace goldlink::cli {

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::minutes kSilentAtMost{1};
constexpr int kMaxRounds = 5;  // of sending what a restarted server has forgotten

}  // namespace

Result<VersionReceiver> VersionReceiver::begin(Api& api, const std::string& path,
                                               const json::object& wishes) {
    GOLDLINK_TRY_ASSIGN(const auto task, api.post(path, wishes));
    const auto id = text_of(task, "id");
    if (id.empty())
        return failure(ErrorKind::invalid, fmt::format("{} answers without a task", api.url()));
    return VersionReceiver(api, id);
}

Result<VersionReceiver> VersionReceiver::resume(Api& api, const std::string& id,
                                                const std::string& image) {
    VersionReceiver receiver(api, id);
    GOLDLINK_TRY_ASSIGN(const auto task, api.get(receiver.task_path()));
    if (text_of(task, "kind") != "import" || text_of(task, "state") != "running" ||
        !text_of(task, "subject").starts_with(image + "@"))
        return failure(ErrorKind::conflict,
                       fmt::format("task {} is no import of {} that waits to go on; leave --resume "
                                   "out: only what the server lacks travels",
                                   id, image));
    return receiver;
}

std::string VersionReceiver::path() const { return "/transfers/" + http::percent_encode(id_); }
std::string VersionReceiver::task_path() const { return "/tasks/" + http::percent_encode(id_); }

Result<std::vector<bool>> VersionReceiver::missing(std::span<const Digest> digests) {
    const std::string asked = octets_of(digests);
    GOLDLINK_TRY_ASSIGN(const std::string answer, patiently([&] {
                            return api_->octets("POST", path() + "/missing", asked,
                                                kMaxAskedChunks);
                        }));
    heard_at_ = Clock::now();
    sent_bytes_ += asked.size();
    if (answer.size() != digests.size())
        return failure(ErrorKind::invalid,
                       fmt::format("{} answers another question than was asked", server()));
    std::vector<bool> missing(digests.size());
    for (std::size_t i = 0; i < missing.size(); ++i) missing[i] = answer[i] != 0;
    return missing;
}

Result<> VersionReceiver::send(const std::string& frame, std::size_t chunks) {
    constexpr std::size_t kMaxAnswerBytes = 4096;
    GOLDLINK_TRY(
        patiently([&] { return api_->octets("PUT", path() + "/chunks", frame, kMaxAnswerBytes); }));
    heard_at_ = Clock::now();
    sent_bytes_ += frame.size();
    sent_chunks_ += chunks;
    return {};
}

Result<> VersionReceiver::send_plain(std::span<const Bytes> chunks) {
    const std::size_t length = chunks.size() * kChunkBytes;
    std::size_t at = 0;
    GOLDLINK_TRY(api_->upload(path() + "/chunks?encoding=identity", length,
                              [&](char* buffer, std::size_t size) -> Result<std::size_t> {
                                  const Bytes left =
                                      chunks[at / kChunkBytes].subspan(at % kChunkBytes);
                                  const std::size_t n = as_text(left).copy(buffer, size);
                                  at += n;
                                  return n;
                              }));
    heard_at_ = Clock::now();
    sent_bytes_ += length;
    sent_chunks_ += chunks.size();
    return {};
}

Result<> VersionReceiver::keep_alive() {
    if (Clock::now() - heard_at_ < kSilentAtMost) return {};
    const Digest zeros{};  // which nobody lacks
    GOLDLINK_TRY(missing(std::span(&zeros, 1)));
    return {};
}

Result<json::value> VersionReceiver::finish(const Manifest& manifest, bool with_digest) {
    const auto header = manifest.header();
    const std::size_t chunk_bytes = manifest.chunks.size() * sizeof(Digest);
    std::string path = this->path() + "/manifest";
    if (with_digest) path += "?digest=" + to_hex(manifest.digest());
    auto done = patiently([&] {
        std::size_t at = 0;
        return api_->upload(
            path, header.size() + chunk_bytes,
            [&](char* buffer, std::size_t size) -> Result<std::size_t> {
                if (at < header.size()) {
                    const std::size_t n = as_text(Bytes(header).subspan(at)).copy(buffer, size);
                    at += n;
                    return n;
                }
                const std::size_t from = at - header.size();
                const std::size_t n = std::min(size, chunk_bytes - from);
                manifest.chunks.read_bytes(from, {reinterpret_cast<std::uint8_t*>(buffer), n});
                at += n;
                return n;
            });
    });
    sent_bytes_ += header.size() + chunk_bytes;
    if (done || done.error().kind != ErrorKind::conflict) return done;
    // The version may be made and only the answer lost.
    auto task = patiently([this] { return api_->get(task_path()); });
    if (task && text_of(*task, "state") == "done") return task;
    return done;
}

Result<std::size_t> VersionReceiver::count_missing(const Manifest& manifest) {
    const auto digests = manifest.distinct_chunks();
    std::size_t count = 0;
    for (std::size_t at = 0; at < digests.size(); at += kMaxAskedChunks) {
        const auto end = std::min(digests.size(), at + kMaxAskedChunks);
        GOLDLINK_TRY_ASSIGN(const auto lacking, missing(std::span(digests).subspan(at, end - at)));
        count += static_cast<std::size_t>(std::count(lacking.begin(), lacking.end(), true));
    }
    return count;
}

Result<json::value> VersionReceiver::deliver(const std::function<Result<Manifest>()>& send,
                                             bool with_digest) {
    for (int round = 1;; ++round) {
        GOLDLINK_TRY_ASSIGN(const Manifest manifest, send());
        auto done = finish(manifest, with_digest);
        if (done || round == kMaxRounds || done.error().kind != ErrorKind::conflict) return done;
        GOLDLINK_TRY_ASSIGN(const std::size_t lacking, count_missing(manifest));
        if (lacking == 0) return done;
        print_note(
            fmt::format("{} was restarted and has forgotten {} chunks: they are sent again\n",
                        server(), lacking));
    }
}

void VersionReceiver::drop() { (void)api_->remove(task_path()); }

}  // namespace goldlink::cli
