#include "target/control/usage_turns.hpp"

namespace goldlink::control {
namespace {
constexpr std::chrono::seconds kGiveWayWait{5};  // its child is killed within a fraction of one
}

std::unique_ptr<UsageTurns::Turn> UsageTurns::enter(std::string link_id,
                                                    std::chrono::milliseconds wait) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, wait, [this] { return stopped_ || current_ == nullptr; });
    if (stopped_ || current_ != nullptr) return nullptr;
    auto turn = std::make_unique<Turn>(*this, std::move(link_id));
    current_ = turn.get();
    return turn;
}

void UsageTurns::leave() {
    {
        const std::lock_guard lock(mutex_);
        current_ = nullptr;
    }
    changed_.notify_all();
}

void UsageTurns::give_way(std::string_view link_id) {
    std::unique_lock lock(mutex_);
    if (current_ == nullptr || current_->link_id_ != link_id) return;
    current_->cancelled_ = true;
    changed_.wait_for(lock, kGiveWayWait,
                      [&] { return current_ == nullptr || current_->link_id_ != link_id; });
}

void UsageTurns::cancel(std::string_view link_id) {
    const std::lock_guard lock(mutex_);
    if (current_ != nullptr && current_->link_id_ == link_id) current_->cancelled_ = true;
}

void UsageTurns::stop() {
    {
        const std::lock_guard lock(mutex_);
        stopped_ = true;
        if (current_ != nullptr) current_->cancelled_ = true;
    }
    changed_.notify_all();
}

bool UsageTurns::stopped() const {
    const std::lock_guard lock(mutex_);
    return stopped_;
}

}  // namespace goldlink::control
