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

namespace goldlink::manager::db {

class Pool {
  public:
    Pool(std::string url, unsigned max_connections);

    const std::string& url() const { return url_; }

    // work: (Connection&) -> Result<T>
    template <typename Work>
    auto run(Work&& work) -> decltype(work(std::declval<Connection&>())) {
        GOLDLINK_TRY_ASSIGN(Connection connection, take());
        auto answer = work(connection);
        give_back(std::move(connection));
        return answer;
    }

    template <typename Work>
    auto transact(Work&& work) -> decltype(work(std::declval<Connection&>())) {
        GOLDLINK_TRY_ASSIGN(Connection connection, take());
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

    // Closes idle connections (the server went away) and forgets the last connect error.
    void drop_idle();

  private:
    Result<Connection> take();
    void give_back(Connection connection);

    const std::string url_;
    const unsigned max_connections_;
    std::mutex mutex_;
    std::condition_variable freed_;
    std::vector<Connection> idle_;
    unsigned open_ = 0;  // lent and idle
    std::optional<Error> connect_error_;
    std::chrono::steady_clock::time_point connect_error_until_{};
};

}  // namespace goldlink::manager::db
