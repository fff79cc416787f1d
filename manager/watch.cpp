#include "manager/watch.hpp"

#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/check.hpp"
#include "common/hex.hpp"
#include "common/log.hpp"
#include "manager/db/migrate.hpp"
#include "manager/db/tokens.hpp"
#include "manager/sha256.hpp"

namespace goldlink::manager {
namespace {

constexpr std::array<std::string_view, 4> kTopics{"registry", "links", "tasks", "events"};

constexpr std::chrono::seconds kPingEvery{5};

std::size_t index_of(Topic topic) { return static_cast<std::size_t>(topic); }

}  // namespace

Watch::Watch(db::Pool& pool, std::string admin_token_file)
    : pool_(pool),
      admin_token_file_(std::move(admin_token_file)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    CHECK(wake_, "an eventfd can be made");
}

Watch::~Watch() { stop(); }

void Watch::start() {
    thread_ = std::thread([this] { run(); });
}

void Watch::stop() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_all();
    const std::uint64_t one = 1;
    CHECK(::write(wake_.get(), &one, sizeof one) == sizeof one, "eventfd takes a write");
    if (thread_.joinable()) thread_.join();
}

std::optional<std::string> Watch::problem() const {
    const std::lock_guard lock(mutex_);
    return problem_;
}

void Watch::wait_first_try(std::chrono::milliseconds timeout) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, timeout, [this] { return tried_ || stopping_; });
}

std::uint64_t Watch::count(Topic topic) const {
    const std::lock_guard lock(mutex_);
    return counts_[index_of(topic)];
}

void Watch::wait(Topic topic, std::uint64_t seen, std::chrono::milliseconds timeout) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, timeout, [&] { return stopping_ || counts_[index_of(topic)] != seen; });
}

void Watch::touch(Topic topic) {
    {
        const std::lock_guard lock(mutex_);
        ++counts_[index_of(topic)];
        if (topic == Topic::registry || topic == Topic::tasks) ++counts_[index_of(Topic::work)];
    }
    changed_.notify_all();
}

void Watch::set_problem(std::optional<std::string> problem) {
    {
        const std::lock_guard lock(mutex_);
        if (problem && problem_ != problem)
            log::error("the database does not serve: {}; running and new boots go on, trying again",
                       *problem);
        if (!problem && problem_) log::info("the database serves");
        problem_ = std::move(problem);
        tried_ = true;
        for (std::uint64_t& count : counts_) ++count;  // whoever waits looks again
    }
    changed_.notify_all();
}

void Watch::run() {
    while (!stopping_) {
        const auto started = std::chrono::steady_clock::now();
        const auto ended = listen();
        if (stopping_) return;
        CHECK(!ended, "listening ends only with an error or the stop");
        set_problem(ended.error().message);
        pool_.drop_idle();
        // A server that restarts is back in a moment; one that stays away is asked once a second.
        const bool served = std::chrono::steady_clock::now() - started > std::chrono::seconds(5);
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, std::chrono::milliseconds(served ? 100 : 1000),
                          [this] { return stopping_.load(); });
    }
}

Result<> Watch::listen() {
    GOLDLINK_TRY_ASSIGN(db::Connection connection, pool_.connect());
    GOLDLINK_TRY(db::migrate(connection, embedded_migrations()));
    GOLDLINK_TRY(ensure_admin_token(connection));
    GOLDLINK_TRY(connection.query("LISTEN goldlink"));
    set_problem(std::nullopt);
    connection.set_limits({kPingEvery, kPingEvery});
    while (!stopping_) {
        GOLDLINK_TRY_ASSIGN(const auto payloads,
                            connection.wait_notifications(kPingEvery, wake_.get()));
        for (const std::string& payload : payloads)
            for (std::size_t i = 0; i < kTopics.size(); ++i)
                if (payload == kTopics[i]) touch(static_cast<Topic>(i));
        // A half-open connection looks silent for ever; a statement finds out.
        if (payloads.empty() && !stopping_) GOLDLINK_TRY(connection.query("SELECT 1"));
    }
    return {};
}

Result<> Watch::ensure_admin_token(db::Connection& connection) {
    if (admin_token_file_.empty()) return {};
    if (auto kept = read_file(admin_token_file_, 4096)) {
        while (!kept->empty() && kept->back() == '\n') kept->pop_back();
        GOLDLINK_TRY_ASSIGN(const auto token, db::use_token(connection, sha256_hex(*kept)));
        if (token && token->role == "admin") return {};
        log::warn("{} holds no valid admin token of this database; writing a new one",
                  admin_token_file_);
    }
    const std::string secret = "gl_" + random_secret(40);
    GOLDLINK_TRY(db::insert_token(connection, "admin", "admin", sha256_hex(secret), std::nullopt));
    const auto written = replace_file(admin_token_file_, secret + "\n", 0600);
    if (!written) return Failure(Error(written.error()).with_context("writing the admin token"));
    log::info("wrote an admin token to {}", admin_token_file_);
    return {};
}

}  // namespace goldlink::manager
