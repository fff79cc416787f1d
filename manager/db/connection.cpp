#include "manager/db/connection.hpp"

#include <fmt/format.h>
#include <libpq-fe.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "common/check.hpp"

namespace goldlink::manager::db {
namespace {

using Clock = std::chrono::steady_clock;

std::string trimmed(const char* text) {
    std::string out = text == nullptr ? "" : text;
    while (!out.empty() && (out.back() == '\n' || out.back() == ' ')) out.pop_back();
    std::replace(out.begin(), out.end(), '\n', ' ');
    return out;
}

int left_ms(Clock::time_point deadline) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 60'000));
}

std::string seconds_since(Clock::time_point began) {
    return fmt::format("{:.0f} s", std::chrono::duration<double>(Clock::now() - began).count());
}

// Waits for the socket; false at the deadline.
bool wait_socket(int socket, short events, Clock::time_point deadline) {
    pollfd waited{socket, events, 0};
    while (true) {
        const int n = ::poll(&waited, 1, left_ms(deadline));
        if (n > 0) return true;
        if (n == 0 && Clock::now() >= deadline) return false;
    }
}

ErrorKind kind_of_state(std::string_view state) {
    const std::string_view state_class = state.substr(0, 2);
    // 57P0x: shutting down; 53xxx: out of connections, disk or memory; 08xxx: connection; 57014:
    // our timeout.
    if (state_class == "08" || state_class == "53" || state_class == "57")
        return ErrorKind::unavailable;
    if (state_class == "40" || state == "55P03") return ErrorKind::conflict;
    if (state == "23505" || state == "23503" || state == "23001") return ErrorKind::conflict;
    if (state_class == "22" || state_class == "23") return ErrorKind::invalid;
    if (state == "25006") return ErrorKind::unavailable;  // a standby: read-only transaction
    return ErrorKind::io;
}

struct Options {
    std::vector<const char*> keys, values;  // each ends with a nullptr
    void add(const char* key, const char* value) {
        keys.push_back(key);
        values.push_back(value);
    }
};

// A machine that vanished is noticed within half a minute, also where nothing waits for an answer.
constexpr std::array<std::pair<const char*, const char*>, 5> kDefaults{
    {{"application_name", "goldlink-manager"},
     {"keepalives_idle", "5"},
     {"keepalives_interval", "2"},
     {"keepalives_count", "3"},
     {"tcp_user_timeout", "10000"}}};

// Points into `server`. libpq takes `dbname` for a whole URL or conninfo string; what comes later
// wins.
Options options_of(const Server& server) {
    Options options;
    for (const auto& [key, value] : kDefaults) options.add(key, value);
    options.add("dbname", server.url.c_str());
    options.add("client_encoding", "UTF8");
    for (const auto& [key, value] : server.options) options.add(key.c_str(), value.c_str());
    options.add(nullptr, nullptr);
    return options;
}

template <typename T>
std::string literal_of(const std::vector<T>& items) {
    std::string out = "{";
    for (const T& item : items) {
        if (out.size() > 1) out += ',';
        if constexpr (std::is_integral_v<T>) {
            out += std::to_string(item);
        } else {
            out += '"';
            for (const char c : item) {
                if (c == '"' || c == '\\') out += '\\';
                out += c;
            }
            out += '"';
        }
    }
    return out + "}";
}

}  // namespace

std::string array_literal(const std::vector<std::string>& items) { return literal_of(items); }
std::string array_literal(const std::vector<std::int64_t>& items) { return literal_of(items); }

bool Row::is_null(int column) const { return PQgetisnull(result_, row_, column) != 0; }

std::string Row::text(int column) const {
    return {PQgetvalue(result_, row_, column),
            static_cast<std::size_t>(PQgetlength(result_, row_, column))};
}

std::optional<std::string> Row::optional_text(int column) const {
    if (is_null(column)) return std::nullopt;
    return text(column);
}

std::int64_t Row::integer(int column) const {
    const std::string value = text(column);
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    CHECK(error == std::errc() && end == value.data() + value.size(),
          "the column is not an integer");
    return number;
}

std::optional<std::int64_t> Row::optional_integer(int column) const {
    if (is_null(column)) return std::nullopt;
    return integer(column);
}

bool Row::boolean(int column) const { return text(column) == "t"; }

Rows::Rows(pg_result* result) : result_(result) {}
int Rows::size() const { return PQntuples(result_.get()); }
void Rows::Clear::operator()(pg_result* result) const { PQclear(result); }

std::int64_t Rows::affected() const {
    const std::string_view text = PQcmdTuples(result_.get());
    std::int64_t number = 0;
    std::from_chars(text.data(), text.data() + text.size(), number);
    return number;
}

void Connection::Finish::operator()(pg_conn* connection) const { PQfinish(connection); }

Result<Connection> Connection::open(const Server& server, const Limits& limits) {
    const Options options = options_of(server);
    Connection connection(PQconnectStartParams(options.keys.data(), options.values.data(), 1),
                          limits);
    PGconn* raw = connection.connection_.get();
    if (raw == nullptr) return failure(ErrorKind::exhausted, "no memory for a database connection");

    const auto began = Clock::now();
    const auto deadline = limits.end_of(limits.connect);
    PostgresPollingStatusType step = PGRES_POLLING_WRITING;
    if (PQstatus(raw) == CONNECTION_BAD) step = PGRES_POLLING_FAILED;
    while (step == PGRES_POLLING_READING || step == PGRES_POLLING_WRITING) {
        const short events = step == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        if (!wait_socket(PQsocket(raw), events, deadline))
            return failure(
                ErrorKind::unavailable,
                fmt::format("connecting to PostgreSQL took longer than {}", seconds_since(began)));
        step = PQconnectPoll(raw);
    }
    if (step != PGRES_POLLING_OK)
        return failure(ErrorKind::unavailable, fmt::format("cannot connect to PostgreSQL: {}",
                                                           trimmed(PQerrorMessage(raw))));
    PQsetNoticeProcessor(
        raw, [](void*, const char*) {}, nullptr);
    // The server gives up before we do, so that its answer says which statement was slow.
    GOLDLINK_TRY(
        connection.script("SET search_path = goldlink; SET TIME ZONE 'UTC';"
                          "SET statement_timeout = '15s'; SET lock_timeout = '10s';"
                          "SET idle_in_transaction_session_timeout = '60s';"
                          // A machine of ours that vanished must not keep its locks for hours.
                          "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2;"
                          "SET tcp_keepalives_count = 3; SET tcp_user_timeout = 10000"));
    return connection;
}

Failure Connection::lost(std::string_view what) {
    broken_ = true;
    return failure(ErrorKind::unavailable,
                   fmt::format("the PostgreSQL connection was lost: {}", what));
}

Failure Connection::refused(pg_result* result) {
    const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const std::string_view code = state == nullptr ? "" : state;
    if (code.empty() || PQstatus(connection_.get()) == CONNECTION_BAD)
        return lost(trimmed(PQerrorMessage(connection_.get())));
    const ErrorKind kind = kind_of_state(code);
    may_retry_ = code == "40001" || code == "40P01";
    if (kind == ErrorKind::unavailable && code != "57014") broken_ = true;
    std::string message = trimmed(PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
    if (const char* detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL))
        message += fmt::format(" ({})", trimmed(detail));
    return failure(kind, fmt::format("PostgreSQL: {} [{}]", message, code));
}

Result<Rows> Connection::collect() {
    PGconn* raw = connection_.get();
    const auto began = Clock::now();
    const auto deadline = limits_.end_of(limits_.statement);
    std::optional<Rows> answer;
    std::optional<Error> error;
    while (true) {
        while (const int unsent = PQflush(raw)) {
            if (unsent < 0) return lost(trimmed(PQerrorMessage(raw)));
            if (!wait_socket(PQsocket(raw), POLLOUT, deadline))
                return lost("it does not take the statement");
        }
        while (PQisBusy(raw)) {
            if (!wait_socket(PQsocket(raw), POLLIN, deadline))
                return lost(fmt::format("no answer within {}", seconds_since(began)));
            if (PQconsumeInput(raw) == 0) return lost(trimmed(PQerrorMessage(raw)));
        }
        PGresult* result = PQgetResult(raw);
        if (result == nullptr) break;
        const ExecStatusType status = PQresultStatus(result);
        if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) {
            answer.emplace(result);
            continue;
        }
        Rows owned(result);
        if (!error) error = refused(result).value();
        if (broken_) break;
    }
    if (error) return Failure(std::move(*error));
    if (!answer) return lost("it sent no answer");
    return std::move(*answer);
}

Result<Rows> Connection::query(const char* sql, std::initializer_list<Param> params) {
    constexpr std::size_t kMaxParams = 24;
    CHECK(params.size() <= kMaxParams, "too many statement parameters");
    if (broken_) return lost("it failed before");
    may_retry_ = false;
    std::array<const char*, kMaxParams> values{};
    std::size_t count = 0;
    for (const Param& param : params) {
        if (param.has_nul())
            return failure(ErrorKind::invalid, "text with a NUL character is refused");
        values[count++] = param.c_str();
    }
    if (PQsendQueryParams(connection_.get(), sql, static_cast<int>(count), nullptr, values.data(),
                          nullptr, nullptr, 0) == 0)
        return lost(trimmed(PQerrorMessage(connection_.get())));
    return collect();
}

Result<> Connection::script(const std::string& sql) {
    if (broken_) return lost("it failed before");
    may_retry_ = false;
    if (PQsendQuery(connection_.get(), sql.c_str()) == 0)
        return lost(trimmed(PQerrorMessage(connection_.get())));
    GOLDLINK_TRY(collect());
    return {};
}

Result<std::vector<std::string>> Connection::wait_notifications(std::chrono::milliseconds timeout,
                                                                int wake_fd) {
    PGconn* raw = connection_.get();
    const auto deadline = Clock::now() + timeout;
    std::vector<std::string> payloads;
    while (true) {
        if (PQconsumeInput(raw) == 0) return lost(trimmed(PQerrorMessage(raw)));
        while (PGnotify* notification = PQnotifies(raw)) {
            payloads.emplace_back(notification->extra);
            PQfreemem(notification);
        }
        if (!payloads.empty() || Clock::now() >= deadline) return payloads;
        std::array<pollfd, 2> waited{{{PQsocket(raw), POLLIN, 0}, {wake_fd, POLLIN, 0}}};
        ::poll(waited.data(), waited.size(), left_ms(deadline));
        if (waited[1].revents != 0) return payloads;
    }
}

}  // namespace goldlink::manager::db
