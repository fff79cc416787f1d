// Transfers: versions that are on their way in from other servers, by the id of their task. A
// transfer begins with the first thing that comes for it and is forgotten when nothing came for
// kKeep, or for kIdle and something else wants the room: what arrived is then swept, and asked for
// again by whoever goes on. While one is kept, nothing is swept. Threads: any that may block.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "target/store/image_store.hpp"

namespace goldlink::store {
class VersionTransfer;
}

namespace goldlink::control {

class Transfers {
  public:
    static constexpr std::size_t kMaxOpen = 64;
    static constexpr std::chrono::minutes kIdle{10};
    static constexpr std::chrono::hours kKeep{24};

    explicit Transfers(store::ImageStore& store);
    ~Transfers();  // forgets all

    // Runs `work` with the transfer, alone.
    template <typename T>
    Result<T> with(const std::string& id,
                   const std::function<Result<T>(store::VersionTransfer&)>& work) {
        GOLDLINK_TRY_ASSIGN(const auto session, open(id));
        const std::lock_guard alone(session->mutex);
        auto result = work(*session->transfer);
        touch(*session);
        return result;
    }
    void forget(const std::string& id);
    // For what wants space back: forgets those of which nothing was heard for kIdle.
    void make_room();

  private:
    struct Session {
        std::mutex mutex;
        std::unique_ptr<store::VersionTransfer> transfer;
        std::chrono::steady_clock::time_point used;  // guarded by Transfers::mutex_
        Session();
        ~Session();
    };

    using SessionPointer = std::shared_ptr<Session>;

    Result<SessionPointer> open(const std::string& id);
    void touch(Session& session);
    void watch();
    // mutex_ held; what is returned is let go after that: it may sweep.
    std::vector<SessionPointer> take_older(std::chrono::steady_clock::duration age);

    store::ImageStore& store_;
    std::mutex mutex_;
    std::condition_variable changed_;
    bool stopping_ = false;
    std::map<std::string, SessionPointer> sessions_;
    std::thread watcher_;
};

}  // namespace goldlink::control
