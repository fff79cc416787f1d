#include "target/control/transfers.hpp"

#include <fmt/format.h>

#include "common/hex.hpp"
#include "common/log.hpp"
#include "target/store/version_transfer.hpp"

namespace goldlink::control {

Transfers::Session::Session() = default;
Transfers::Session::~Session() = default;

Transfers::Transfers(store::ImageStore& store) : store_(store), watcher_([this] { watch(); }) {}

Transfers::~Transfers() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_all();
    watcher_.join();
}

Result<Transfers::SessionPointer> Transfers::open(const std::string& id) {
    if (!is_uuid(id))
        return failure(ErrorKind::invalid, fmt::format("'{}' is no UUID", id.substr(0, 64)));
    std::vector<SessionPointer> gone;
    const std::lock_guard lock(mutex_);
    if (!sessions_.contains(id) && sessions_.size() >= kMaxOpen) gone = take_older(kIdle);
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

void Transfers::make_room() {
    std::vector<SessionPointer> gone;
    const std::lock_guard lock(mutex_);
    gone = take_older(kIdle);
}

std::vector<Transfers::SessionPointer> Transfers::take_older(
    std::chrono::steady_clock::duration age) {
    std::vector<SessionPointer> gone;
    const auto oldest = std::chrono::steady_clock::now() - age;
    std::erase_if(sessions_, [&](auto& entry) {
        if (entry.second->used > oldest) return false;
        log::info("transfer {} is forgotten: nothing came for it for {} minutes", entry.first,
                  std::chrono::duration_cast<std::chrono::minutes>(age).count());
        gone.push_back(std::move(entry.second));
        return true;
    });
    return gone;
}

void Transfers::watch() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
        changed_.wait_for(lock, kIdle);
        auto gone = take_older(kKeep);
        lock.unlock();
        gone.clear();
        lock.lock();
    }
}

}  // namespace goldlink::control
