#include "manager/db/pool.hpp"

namespace goldlink::manager::db {
namespace {

constexpr std::chrono::seconds kWaitForConnection{10};
constexpr std::chrono::milliseconds kConnectErrorHolds{500};

}  // namespace

Pool::Pool(std::string url, unsigned max_connections)
    : url_(std::move(url)), max_connections_(max_connections) {
    idle_.reserve(max_connections);
}

Result<Connection> Pool::take() {
    std::unique_lock lock(mutex_);
    const auto may_go = [this] { return !idle_.empty() || open_ < max_connections_; };
    if (!freed_.wait_for(lock, kWaitForConnection, may_go))
        return failure(ErrorKind::unavailable, "all database connections are busy; try again");
    if (!idle_.empty()) {
        Connection connection = std::move(idle_.back());
        idle_.pop_back();
        return connection;
    }
    if (connect_error_ && std::chrono::steady_clock::now() < connect_error_until_)
        return Failure(*connect_error_);
    ++open_;
    lock.unlock();
    auto connection = Connection::open(url_);
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

void Pool::drop_idle() {
    const std::lock_guard lock(mutex_);
    open_ -= static_cast<unsigned>(idle_.size());
    idle_.clear();
    connect_error_.reset();
}

}  // namespace goldlink::manager::db
