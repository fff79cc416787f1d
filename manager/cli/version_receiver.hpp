// VersionReceiver: a version on its way to a server that takes only what it lacks. It is asked what
// is missing, gets that, and makes the version when its manifest comes; it checks every chunk by
// its digest. Calls are repeated while the connection breaks. One thread.
// Include only from .cpp files (api.hpp).
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "common/manifest.hpp"
#include "manager/cli/api.hpp"

namespace goldlink::cli {

class VersionReceiver {
  public:
    // POSTs `wishes` to a path that answers with the task of a transfer.
    static Result<VersionReceiver> begin(Api& api, const std::string& path,
                                         const json::object& wishes);
    // Goes on with a transfer of this task's id that is still running, of this image.
    static Result<VersionReceiver> resume(Api& api, const std::string& id,
                                          const std::string& image);

    const std::string& id() const { return id_; }
    const std::string& server() const { return api_->url(); }

    // For each of at most kMaxAskedChunks digests whether the server has no good chunk of it.
    Result<std::vector<bool>> missing(std::span<const Digest> digests);
    // A frame of common/chunk_frame.hpp with this many chunks.
    Result<> send(const std::string& frame, std::size_t chunks);
    // At most kMaxPlainChunks chunks as they are, which lie where `chunks` says. Not tried again.
    Result<> send_plain(std::span<const Bytes> chunks);
    // A server may forget a transfer of which nothing is heard for ten minutes: to be called now
    // and then when there is nothing to ask.
    Result<> keep_alive();
    // The task, done. `with_digest`: the transfer began without it.
    Result<json::value> finish(const Manifest& manifest, bool with_digest);
    // send() and finish(), again while the server says that it lacks something: it has forgotten
    // what it had not made a version of when it was restarted. `send` asks what is missing.
    Result<json::value> deliver(const std::function<Result<Manifest>()>& send, bool with_digest);
    // Gives it up; what came goes.
    void drop();

    std::uint64_t sent_bytes() const { return sent_bytes_; }
    std::uint64_t sent_chunks() const { return sent_chunks_; }

  private:
    VersionReceiver(Api& api, std::string id) : api_(&api), id_(std::move(id)) {}
    Result<std::size_t> count_missing(const Manifest& manifest);
    std::string path() const;
    std::string task_path() const;

    Api* api_;
    std::string id_;
    std::chrono::steady_clock::time_point heard_at_ = std::chrono::steady_clock::now();
    std::uint64_t sent_bytes_ = 0, sent_chunks_ = 0;
};

}  // namespace goldlink::cli
