// Transfers: versions that are on their way in from other servers, by the id of their task. A
// transfer begins with the first thing that comes for it and is forgotten when nothing came for
// kIdle: what arrived is then swept, and asked for again by whoever goes on. Threads: any that may
// block.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "target/store/image_store.hpp"

namespace goldlink::store {
class VersionTransfer;
}

namespace goldlink::control {

class Transfers {
  public:
    static constexpr std::size_t kMaxOpen = 8;
    static constexpr std::chrono::minutes kIdle{10};

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

  private:
    struct Session {
        std::mutex mutex;
        std::unique_ptr<store::VersionTransfer> transfer;
        std::chrono::steady_clock::time_point used;  // guarded by Transfers::mutex_
        Session();
        ~Session();
    };

    Result<std::shared_ptr<Session>> open(const std::string& id);
    void touch(Session& session);
    void forget_idle();

    store::ImageStore& store_;
    std::mutex mutex_;
    std::condition_variable changed_;
    bool stopping_ = false;
    std::map<std::string, std::shared_ptr<Session>> sessions_;
    std::thread watcher_;
};

}  // namespace goldlink::control
