#include "target/control/transfers.hpp"

#include <fmt/format.h>

#include "common/hex.hpp"
#include "common/log.hpp"
#include "target/store/version_transfer.hpp"

namespace goldlink::control {

Transfers::Session::Session() = default;
Transfers::Session::~Session() = default;

Transfers::Transfers(store::ImageStore& store)
    : store_(store), watcher_([this] { forget_idle(); }) {}

Transfers::~Transfers() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_all();
    watcher_.join();
}

Result<std::shared_ptr<Transfers::Session>> Transfers::open(const std::string& id) {
    if (!is_uuid(id))
        return failure(ErrorKind::invalid, fmt::format("'{}' is no UUID", id.substr(0, 64)));
    const std::lock_guard lock(mutex_);
    auto& session = sessions_[id];
    if (!session) {
        if (sessions_.size() > kMaxOpen) {
            sessions_.erase(id);
            return failure(ErrorKind::unavailable,
                           fmt::format("{} versions are coming in already; try again when one of "
                                       "them is here",
                                       kMaxOpen));
        }
        auto made = std::make_shared<Session>();
        auto transfer = store_.begin_transfer();
        if (!transfer) {
            sessions_.erase(id);
            return Failure(std::move(transfer).error());
        }
        made->transfer = std::move(*transfer);
        session = std::move(made);
    }
    session->used = std::chrono::steady_clock::now();
    return session;
}

void Transfers::touch(Session& session) {
    const std::lock_guard lock(mutex_);
    session.used = std::chrono::steady_clock::now();
}

void Transfers::forget(const std::string& id) {
    std::shared_ptr<Session> gone;  // let go after the lock: it may sweep
    const std::lock_guard lock(mutex_);
    if (const auto found = sessions_.find(id); found != sessions_.end()) {
        gone = std::move(found->second);
        sessions_.erase(found);
    }
}

void Transfers::forget_idle() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
        changed_.wait_for(lock, std::chrono::seconds(30));
        const auto oldest = std::chrono::steady_clock::now() - kIdle;
        std::erase_if(sessions_, [&](const auto& entry) {
            if (entry.second->used > oldest) return false;
            log::info("transfer {} is forgotten: nothing came for it for {} minutes", entry.first,
                      kIdle.count());
            return true;
        });
    }
}

}  // namespace goldlink::control
