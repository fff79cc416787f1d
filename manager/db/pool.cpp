#include "manager/db/pool.hpp"

namespace goldlink::manager::db {
namespace {

constexpr std::chrono::seconds kWaitForConnection{10};
constexpr std::chrono::milliseconds kConnectErrorHolds{500};

}  // namespace

Pool::Pool(const std::string& url, unsigned max_connections)
    : hosts_(url), max_connections_(max_connections) {
    idle_.reserve(max_connections);
}

Result<Connection> Pool::take(const Limits& limits) {
    std::unique_lock lock(mutex_);
    const auto may_go = [this] { return !idle_.empty() || open_ < max_connections_; };
    if (!freed_.wait_until(lock, limits.end_of(kWaitForConnection), may_go))
        return failure(ErrorKind::unavailable, "all database connections are busy; try again");
    taken_or_back_ = std::chrono::steady_clock::now();
    if (!idle_.empty()) {
        Connection connection = std::move(idle_.back());
        idle_.pop_back();
        connection.set_limits(limits);
        return connection;
    }
    if (connect_error_ && std::chrono::steady_clock::now() < connect_error_until_)
        return Failure(*connect_error_);
    ++open_;
    lock.unlock();
    auto connection = connect(limits);
    lock.lock();
    if (!connection) {
        --open_;
        connect_error_ = connection.error();
        connect_error_until_ = std::chrono::steady_clock::now() + kConnectErrorHolds;
        freed_.notify_one();
    } else {
        connect_error_.reset();
    }
    return connection;
}

void Pool::give_back(Connection connection) {
    const std::lock_guard lock(mutex_);
    taken_or_back_ = std::chrono::steady_clock::now();
    if (connection.broken()) {
        --open_;
        // The others were most likely lost with it; a fresh connect is cheaper than a failed
        // request.
        open_ -= static_cast<unsigned>(idle_.size());
        idle_.clear();
    } else {
        idle_.push_back(std::move(connection));
    }
    freed_.notify_one();
}

std::optional<std::chrono::steady_clock::time_point> Pool::used_up_since() const {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty() || open_ < max_connections_) return std::nullopt;
    return taken_or_back_;
}

void Pool::drop_idle() {
    const std::lock_guard lock(mutex_);
    open_ -= static_cast<unsigned>(idle_.size());
    idle_.clear();
    connect_error_.reset();
}

}  // namespace goldlink::manager::db
