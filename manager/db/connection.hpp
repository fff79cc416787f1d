// One PostgreSQL connection over libpq: parameterised statements in, text rows out.
//
// Every call is bounded by a deadline: a server that hangs is an error like one that is gone.
// Errors: unavailable (not reachable, lost, shutting down, too slow), conflict (a constraint, a
// lost race), invalid (a value PostgreSQL refuses), io (anything else: a bug or a damaged
// database). One thread at a time.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.hpp"

struct pg_conn;
struct pg_result;

namespace goldlink::manager::db {

// One statement parameter, sent as text; PostgreSQL gives it the type the statement needs.
class Param {
  public:
    Param(std::nullopt_t) {}
    Param(std::string text) : text_(std::move(text)) {}
    Param(std::string_view text) : text_(text) {}
    Param(const char* text) : text_(text) {}
    Param(std::int64_t number) : text_(std::to_string(number)) {}
    Param(int number) : text_(std::to_string(number)) {}
    Param(bool value) : text_(value ? "t" : "f") {}
    template <typename T>
    Param(const std::optional<T>& value) {
        if (value) text_ = std::move(Param(*value).text_);
    }

    const char* c_str() const { return text_ ? text_->c_str() : nullptr; }
    // What libpq's text format cannot carry.
    bool has_nul() const { return text_ && text_->find('\0') != std::string::npos; }

  private:
    std::optional<std::string> text_;
};

// `{a,b}` for a text[] or bigint[] parameter, quoted.
std::string array_literal(const std::vector<std::string>& items);
std::string array_literal(const std::vector<std::int64_t>& items);

class Row {
  public:
    Row(const pg_result* result, int row) : result_(result), row_(row) {}
    bool is_null(int column) const;
    std::string text(int column) const;  // "" for NULL
    std::optional<std::string> optional_text(int column) const;
    std::int64_t integer(int column) const;
    std::optional<std::int64_t> optional_integer(int column) const;
    bool boolean(int column) const;

  private:
    const pg_result* result_;
    int row_;
};

class Rows {
  public:
    explicit Rows(pg_result* result);
    int size() const;
    bool empty() const { return size() == 0; }
    Row operator[](int row) const { return {result_.get(), row}; }
    std::int64_t affected() const;  // rows an INSERT, UPDATE or DELETE changed

    // All rows through `read`.
    template <typename Read>
    auto map(Read read) const {
        std::vector<decltype(read((*this)[0]))> out;
        out.reserve(static_cast<std::size_t>(size()));
        for (int i = 0; i < size(); ++i) out.push_back(read((*this)[i]));
        return out;
    }
    // The first row through `read`, or nullopt.
    template <typename Read>
    auto first(Read read) const -> std::optional<decltype(read((*this)[0]))> {
        if (empty()) return std::nullopt;
        return read((*this)[0]);
    }

  private:
    struct Clear {
        void operator()(pg_result* result) const;
    };
    std::unique_ptr<pg_result, Clear> result_;
};

// How long a connection waits: for a server to take it, for a statement's answer, and at most until
// a point in time for all of it.
struct Limits {
    using Clock = std::chrono::steady_clock;
    std::chrono::milliseconds connect = std::chrono::seconds(5);
    std::chrono::milliseconds statement = std::chrono::seconds(20);
    Clock::time_point until = Clock::time_point::max();

    Clock::time_point end_of(std::chrono::milliseconds wait) const {
        return std::min(Clock::now() + wait, until);
    }
};

// All of it within this time.
inline Limits within(std::chrono::milliseconds time) {
    return {time, time, Limits::Clock::now() + time};
}

struct Server {
    std::string url;                                           // or conninfo string
    std::vector<std::pair<std::string, std::string>> options;  // that win over what it names
};

class Connection {
  public:
    // Connects and sets the session up (schema goldlink, UTC, statement timeout).
    static Result<Connection> open(const Server& server, const Limits& limits = {});

    // For the statements from now on.
    void set_limits(const Limits& limits) { limits_ = limits; }

    Result<Rows> query(const char* sql, std::initializer_list<Param> params = {});
    // Several statements without parameters, as one transaction unless they say otherwise.
    Result<> script(const std::string& sql);

    // Waits for a NOTIFY until the deadline. Returns the payloads that came, none at the deadline;
    // an error when the connection is lost. `wake_fd` readable ends the wait early.
    Result<std::vector<std::string>> wait_notifications(std::chrono::milliseconds timeout,
                                                        int wake_fd);

    bool broken() const { return broken_; }
    // The last failure was a serialisation failure or deadlock: the transaction may be run again.
    bool may_retry() const { return may_retry_; }

  private:
    struct Finish {
        void operator()(pg_conn* connection) const;
    };
    Connection(pg_conn* connection, const Limits& limits)
        : connection_(connection), limits_(limits) {}
    Result<Rows> collect();
    Failure refused(pg_result* result);
    Failure lost(std::string_view what);

    std::unique_ptr<pg_conn, Finish> connection_;
    Limits limits_;
    bool broken_ = false;
    bool may_retry_ = false;
};

}  // namespace goldlink::manager::db
