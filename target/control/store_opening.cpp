#include "target/control/store_opening.hpp"

#include <pthread.h>

#include <chrono>

#include "common/log.hpp"

namespace goldlink::control {

namespace {

constexpr std::chrono::seconds kLookEvery{2};

}  // namespace

void StoreOpening::start() {
    if (store_.usable())
        tasks_.start();
    else
        thread_ = std::thread([this] { run(); });
}

void StoreOpening::stop() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
}

void StoreOpening::run() {
    pthread_setname_np(pthread_self(), "store-opening");
    std::string told = store_.problem();
    std::unique_lock lock(mutex_);
    while (!stopping_) {
        lock.unlock();
        const bool usable = store_.try_open();
        if (usable) {
            log::info("the image store can be used now");
            links_.retry_problems();
            tasks_.start();
            return;
        }
        if (const std::string problem = store_.problem(); problem != told) {
            log::error("{}", problem);
            told = problem;
        }
        lock.lock();
        changed_.wait_for(lock, kLookEvery, [this] { return stopping_; });
    }
}

}  // namespace goldlink::control
