// A light iSCSI initiator that measures a target: one thread, one epoll, so that the load costs
// little beside what it measures. Prints one JSON object. This file: options, the loop, the report.
#include <fmt/format.h>
#include <sched.h>
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "tests/bench/load_measure.hpp"
#include "tests/bench/load_session.hpp"

namespace goldlink::bench {
namespace {

constexpr unsigned kMaxSessions = 4096;
constexpr std::size_t kReceiveBytes = 256 * 1024;

class Run {
  public:
    explicit Run(Options options) {
        load_.options = std::move(options);
        load_.data_out.assign(std::max<std::size_t>(load_.options.block_bytes, 4096), 0);
        for (std::uint8_t& byte : load_.data_out)
            byte = static_cast<std::uint8_t>(load_.next_random());
        load_.received.resize(kReceiveBytes);
        epoll_ = epoll_create1(EPOLL_CLOEXEC);
        for (unsigned i = 0; i < load_.options.sessions; ++i) {
            Session& session = *sessions_.emplace_back(std::make_unique<Session>(load_, i));
            session.connect();
            if (!load_.options.bare) {
                session.log_in();
                session.make_ready();
            }
            epoll_event event{};
            event.events = EPOLLIN;
            event.data.u32 = i;
            if (epoll_ctl(epoll_, EPOLL_CTL_ADD, session.fd(), &event) != 0)
                die("epoll_ctl failed");
        }
        sending_.resize(sessions_.size());
        // They come after the busy ones in number, and are not watched: pings stay unanswered.
        for (unsigned i = 0; i < load_.options.idle; ++i) {
            Session& session =
                *idle_.emplace_back(std::make_unique<Session>(load_, load_.options.sessions + i));
            session.connect();
            session.log_in();
            session.make_ready();
        }
    }

    void measure() {
        const Options& options = load_.options;
        load_.batch_time_ns = now_ns();
        for (const auto& session : sessions_) session->issue_all();
        watch_senders();
        run_for(options.warm_up_seconds);
        load_.totals = {};
        for (const auto& session : sessions_) session->latency() = {};
        const double cpu_before = options.pid != 0 ? cpu_time_us(options.pid) : 0;
        const std::uint64_t start = now_ns();
        run_for(options.seconds);
        const double elapsed = static_cast<double>(now_ns() - start) / 1e9;
        const double cpu = options.pid != 0 ? cpu_time_us(options.pid) - cpu_before : 0;
        const auto operations = static_cast<double>(load_.totals.operations);
        if (load_.totals.operations == 0) die("not one operation finished");
        const Histogram& latency = load_.totals.latency;
        std::vector<double> p99;
        for (const auto& session : sessions_) p99.push_back(session->latency().quantile_us(0.99));
        std::ranges::sort(p99);
        fmt::print(
            "{{\"operations\": {}, \"seconds\": {:.3f}, \"iops\": {:.1f}, \"mb_per_s\": {:.2f}, "
            "\"latency_median_us\": {:.2f}, \"latency_p99_us\": {:.2f}, "
            "\"target_cpu_us_per_op\": {:.3f}, \"session_p99_median_us\": {:.2f}, "
            "\"session_p99_worst_us\": {:.2f}}}\n",
            load_.totals.operations, elapsed, operations / elapsed,
            static_cast<double>(load_.totals.bytes) / elapsed / 1e6, latency.quantile_us(0.5),
            latency.quantile_us(0.99), cpu / operations, p99[p99.size() / 2], p99.back());
        drain();
    }

  private:
    void watch_senders() {
        for (std::uint32_t i = 0; i < sessions_.size(); ++i) {
            const bool wants = sessions_[i]->wants_to_send();
            if (wants == sending_[i]) continue;
            sending_[i] = wants;
            epoll_event event{};
            event.events = EPOLLIN;
            if (wants) event.events |= EPOLLOUT;
            event.data.u32 = i;
            epoll_ctl(epoll_, EPOLL_CTL_MOD, sessions_[i]->fd(), &event);
        }
    }

    void turn() {
        constexpr int kStuckTimeoutMs = 10'000;
        std::array<epoll_event, 64> events{};
        const int count =
            epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), kStuckTimeoutMs);
        if (count == 0) die("the target has not answered for 10 seconds");
        load_.batch_time_ns = now_ns();
        bool senders = false;
        for (int i = 0; i < count; ++i) {
            const std::uint32_t index = events[static_cast<std::size_t>(i)].data.u32;
            Session& session = *sessions_[index];
            if ((events[static_cast<std::size_t>(i)].events & ~std::uint32_t{EPOLLOUT}) != 0)
                session.receive();
            session.flush();
            senders |= session.wants_to_send() != sending_[index];
        }
        if (senders) watch_senders();
    }

    void run_for(double seconds) {
        const std::uint64_t end = now_ns() + static_cast<std::uint64_t>(seconds * 1e9);
        while (load_.batch_time_ns < end) turn();
    }

    // The target must finish what was asked, or it was not measured fairly.
    void drain() {
        load_.issuing = false;
        const auto busy = [&] {
            return std::ranges::any_of(sessions_, [](const auto& s) { return s->in_flight() > 0; });
        };
        while (busy()) turn();
    }

    Load load_;
    std::vector<std::unique_ptr<Session>> sessions_;
    std::vector<std::unique_ptr<Session>> idle_;
    std::vector<bool> sending_;
    int epoll_ = -1;
};

Options parse(int argc, char** argv) {
    Options options;
    const auto bounded = [](const std::string& name, const char* text, double low, double high) {
        char* end = nullptr;
        const double value = std::strtod(text, &end);
        if (end == text || *end != '\0' || value < low || value > high)
            die(fmt::format("{} must be {} to {}, not '{}'", name, low, high, text));
        return value;
    };
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string name = argv[i];
        const char* value = argv[i + 1];
        const auto number = [&](double low, double high) {
            return bounded(name, value, low, high);
        };
        if (name == "--address")
            options.address = value;
        else if (name == "--port")
            options.port = static_cast<std::uint16_t>(number(1, 65535));
        else if (name == "--target")
            options.target = value;
        else if (name == "--lun")
            options.lun = static_cast<std::uint8_t>(number(0, 255));
        else if (name == "--sessions")
            options.sessions = static_cast<unsigned>(number(1, kMaxSessions));
        else if (name == "--idle")
            options.idle = static_cast<unsigned>(number(0, kMaxSessions));
        else if (name == "--depth")
            options.depth = static_cast<unsigned>(number(1, kMaxDepth));
        else if (name == "--block")
            options.block_bytes = static_cast<std::uint32_t>(number(512, 1 << 20)) / 512 * 512;
        else if (name == "--pattern")
            options.sequential = std::string(value) == "sequential";
        else if (name == "--writes")
            options.write_percent = static_cast<unsigned>(number(0, 100));
        else if (name == "--set-bytes")
            options.set_bytes = static_cast<std::uint64_t>(number(1 << 20, 1e15));
        else if (name == "--seconds")
            options.seconds = number(0.05, 600);
        else if (name == "--warm-up")
            options.warm_up_seconds = number(0, 600);
        else if (name == "--pid")
            options.pid = static_cast<int>(number(1, 1 << 30));
        else if (name == "--bare")
            options.bare = number(0, 1) == 1;
        else if (name == "--core")
            options.core = static_cast<int>(number(0, 1023));
        else
            die(fmt::format("unknown option {}", name));
    }
    if (options.target.empty() || argc % 2 == 0)
        die("usage: load_generator --target IQN [--address A] [--port P] [--lun N] [--sessions N] "
            "[--idle N]\n"
            "  [--depth N] [--block BYTES] [--pattern random|sequential] [--writes PERCENT]\n"
            "  [--set-bytes N] [--seconds S] [--warm-up S] [--pid TARGET] [--core N] [--bare 0|1]");
    return options;
}

}  // namespace
}  // namespace goldlink::bench

int main(int argc, char** argv) {
    using namespace goldlink::bench;
    const Options options = parse(argc, argv);
    if (options.core >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(static_cast<unsigned>(options.core), &set);
        if (sched_setaffinity(0, sizeof set, &set) != 0) die("cannot run on the core asked for");
    }
    Run(options).measure();
    return 0;
}
