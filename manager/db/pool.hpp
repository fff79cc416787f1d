// A bounded set of database connections, shared by the REST threads and the background threads.
//
// `run` lends a connection for one piece of work; `transact` wraps it in a transaction and runs it
// again when PostgreSQL gave it up for a deadlock or a serialisation failure. After a failed
// connect the next half second's callers get the same answer at once. Threads: any.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "manager/db/connection.hpp"
#include "manager/db/hosts.hpp"

namespace goldlink::manager::db {

class Pool {
  public:
    Pool(const std::string& url, unsigned max_connections);

    // work: (Connection&) -> Result<T>
    template <typename Work>
    auto run(Work&& work, const Limits& limits = {})
        -> decltype(work(std::declval<Connection&>())) {
        GOLDLINK_TRY_ASSIGN(Connection connection, take(limits));
        auto answer = work(connection);
        give_back(std::move(connection));
        return answer;
    }

    template <typename Work>
    auto transact(Work&& work) -> decltype(work(std::declval<Connection&>())) {
        GOLDLINK_TRY_ASSIGN(Connection connection, take({}));
        auto answer = in_transaction(connection, work);
        give_back(std::move(connection));
        return answer;
    }

    // As transact, on a connection the caller has.
    template <typename Work>
    static auto in_transaction(Connection& connection, Work&& work) -> decltype(work(connection)) {
        constexpr int kAttempts = 4;
        for (int attempt = 1;; ++attempt) {
            GOLDLINK_TRY(connection.query("BEGIN"));
            auto answer = work(connection);
            if (answer) {
                const auto committed = connection.query("COMMIT");
                if (committed) return answer;
                if (!connection.may_retry() || attempt == kAttempts)
                    return Failure(committed.error());
                continue;
            }
            const bool again = connection.may_retry() && attempt < kAttempts;
            if (!connection.broken()) GOLDLINK_TRY(connection.query("ROLLBACK"));
            if (!again) return answer;
        }
    }

    // One that is the caller's own, not the pool's.
    Result<Connection> connect(const Limits& limits = {}) { return hosts_.connect(limits); }
    // Since when all connections have been in use without one coming back; nullopt: they are not.
    std::optional<std::chrono::steady_clock::time_point> used_up_since() const;
    unsigned max_connections() const { return max_connections_; }

    // Closes idle connections (the server went away) and forgets the last connect error.
    void drop_idle();

  private:
    Result<Connection> take(const Limits& limits);
    void give_back(Connection connection);

    Hosts hosts_;
    const unsigned max_connections_;
    mutable std::mutex mutex_;
    std::condition_variable freed_;
    std::vector<Connection> idle_;
    unsigned open_ = 0;                                      // lent and idle
    std::chrono::steady_clock::time_point taken_or_back_{};  // when that last changed
    std::optional<Error> connect_error_;
    std::chrono::steady_clock::time_point connect_error_until_{};
};

}  // namespace goldlink::manager::db
