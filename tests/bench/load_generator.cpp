// A light iSCSI initiator that measures a target: one thread, one epoll, own wire code, so that the
// load costs little beside what it measures. Prints one JSON object.
//
// It speaks what a benchmark needs of RFC 7143: login without authentication, READ(16) and
// WRITE(16) with immediate, unsolicited and solicited data, the command window. What it reads it
// drops. Any status but GOOD, or a PDU it does not expect, ends the run with an error.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/bytes.hpp"

namespace goldlink::bench {
namespace {

constexpr std::size_t kHeaderBytes = 48;
constexpr std::uint32_t kNoTag = 0xFFFFFFFF;
constexpr std::uint32_t kMaxSegmentBytes = 262144;  // what we offer for every length key
constexpr unsigned kMaxSessions = 1024;
constexpr unsigned kMaxDepth = 1024;
constexpr std::size_t kReceiveBytes = 256 * 1024;

[[noreturn]] void die(const std::string& why) {
    fmt::print(stderr, "load_generator: {}\n", why);
    std::exit(1);
}

struct Options {
    std::string address = "127.0.0.1";
    std::uint16_t port = 3260;
    std::string target;
    std::uint8_t lun = 0;
    unsigned sessions = 1;
    unsigned depth = 1;
    std::uint32_t block_bytes = 4096;
    bool sequential = false;
    unsigned write_percent = 0;
    std::uint64_t set_bytes = 64u << 20;
    double seconds = 2;
    double warm_up_seconds = 0.5;
    int pid = 0;    // whose CPU time to report
    int core = -1;  // to run on
};

std::uint64_t now_ns() {
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                          std::chrono::steady_clock::now().time_since_epoch())
                                          .count());
}

// Latencies in buckets of a sixteenth of an octave.
class Histogram {
  public:
    void add(std::uint64_t ns) {
        const std::uint64_t value = std::max<std::uint64_t>(ns, 16);
        const auto octave = static_cast<unsigned>(std::bit_width(value)) - 5;
        ++buckets_[octave * 16 + ((value >> octave) & 15)];
        ++count_;
    }
    double quantile_us(double q) const {
        const auto rank = static_cast<std::uint64_t>(q * static_cast<double>(count_));
        std::uint64_t seen = 0;
        for (std::size_t i = 0; i < buckets_.size(); ++i) {
            seen += buckets_[i];
            if (seen > rank) return static_cast<double>((16 + i % 16) << (i / 16)) / 1000.0;
        }
        return 0;
    }
    void clear() { *this = Histogram(); }

  private:
    std::array<std::uint64_t, 60 * 16> buckets_{};
    std::uint64_t count_ = 0;
};

struct Totals {
    std::uint64_t operations = 0;
    std::uint64_t bytes = 0;
    Histogram latency;
};

// What the sessions of a run share.
struct Load {
    Options options;
    Totals totals;
    bool issuing = true;
    std::uint64_t batch_time_ns = 0;  // the clock, read once per epoll turn
    std::uint64_t random = 0x9E3779B97F4A7C15;
    std::vector<std::uint8_t> data_out;
    std::vector<std::uint8_t> received;

    std::uint64_t next_random() {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        return random;
    }
};

class Session {
  public:
    Session(Load& load, unsigned index) : load_(load), index_(index), slots_(load.options.depth) {
        // Every PDU queued for sending points at its header here. A command has at most one PDU per
        // 8 KiB in flight (the smallest segment a target may declare is less, but none does).
        const std::size_t per_command = 2 + load.options.block_bytes / 8192;
        headers_.resize(std::bit_ceil(load.options.depth * per_command + 8));
        const std::uint64_t blocks = load.options.set_bytes / load.options.block_bytes;
        position_ = blocks / load.options.sessions * index;
    }
    ~Session() {
        if (fd_ >= 0) close(fd_);
    }
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    void connect_and_log_in();
    void make_ready();  // TEST UNIT READY until the attentions are gone
    int fd() const { return fd_; }
    bool wants_to_send() const { return sent_ < queue_.size(); }
    unsigned in_flight() const { return in_flight_; }

    // Fills the depth and sends. Then, on each event:
    void issue_all();
    void receive();
    void flush();

  private:
    struct Slot {
        std::uint64_t started_ns = 0;
        bool busy = false;
        bool write = false;
    };

    // Blocking, for login.
    void send_all(Bytes bytes);
    void receive_all(std::uint8_t* to, std::size_t count);
    std::map<std::string, std::string> exchange_login(int stage, int next_stage,
                                                      const std::string& text);
    void read_response_header(std::array<std::uint8_t, kHeaderBytes>& header);

    std::uint8_t* new_header() {
        std::uint8_t* header = headers_[next_header_++ % headers_.size()].data();
        std::fill_n(header, kHeaderBytes, std::uint8_t{0});
        return header;
    }
    void queue(const std::uint8_t* from, std::size_t length) {
        queue_.push_back({const_cast<std::uint8_t*>(from), length});
    }
    void issue(std::uint32_t slot);
    void queue_data_out(std::uint32_t slot, std::uint32_t transfer_tag, std::uint32_t offset,
                        std::uint32_t length);
    void on_header(const std::uint8_t* header);
    void on_finished(std::uint32_t slot);
    void note_window(const std::uint8_t* header) {
        const std::uint32_t max = load_be32(header + 32);
        if (static_cast<std::int32_t>(max - max_cmd_sn_) > 0) max_cmd_sn_ = max;
    }

    Load& load_;
    unsigned index_;
    int fd_ = -1;
    std::uint32_t cmd_sn_ = 1;
    std::uint32_t max_cmd_sn_ = 1;
    std::uint32_t exp_stat_sn_ = 0;
    std::uint32_t first_burst_ = 65536;
    std::uint32_t target_segment_ = 8192;
    bool immediate_data_ = true;
    bool initial_r2t_ = true;

    std::vector<Slot> slots_;
    std::vector<std::uint32_t> held_back_;  // slots that wait for the command window
    unsigned in_flight_ = 0;
    std::uint64_t position_ = 0;

    std::vector<std::array<std::uint8_t, kHeaderBytes>> headers_;
    std::size_t next_header_ = 0;
    std::vector<iovec> queue_;
    std::size_t sent_ = 0;

    std::array<std::uint8_t, kHeaderBytes> partial_{};  // a header that came in pieces
    std::size_t partial_bytes_ = 0;
    std::size_t skip_ = 0;  // data bytes still to drop
};

void Session::send_all(Bytes bytes) {
    while (!bytes.empty()) {
        const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent <= 0) die("the target closed the connection during login");
        bytes = bytes.subspan(static_cast<std::size_t>(sent));
    }
}

void Session::receive_all(std::uint8_t* to, std::size_t count) {
    while (count > 0) {
        const ssize_t got = recv(fd_, to, count, 0);
        if (got <= 0) die("the target closed the connection during login");
        to += got;
        count -= static_cast<std::size_t>(got);
    }
}

std::map<std::string, std::string> Session::exchange_login(int stage, int next_stage,
                                                           const std::string& text) {
    std::array<std::uint8_t, kHeaderBytes> header{};
    header[0] = 0x43;
    header[1] = static_cast<std::uint8_t>(0x80 | (stage << 2) | next_stage);
    store_be24(&header[5], static_cast<std::uint32_t>(text.size()));
    header[8] = 0x80;  // ISID, random format, one a session
    store_be32(&header[10], index_ + 1);
    store_be32(&header[24], cmd_sn_);
    store_be32(&header[28], exp_stat_sn_);
    std::string padded = text;
    padded.resize((text.size() + 3) / 4 * 4, '\0');
    send_all(header);
    send_all(as_bytes(padded));
    receive_all(header.data(), header.size());
    std::string answer((std::size_t{load_be24(&header[5])} + 3) / 4 * 4, '\0');
    receive_all(reinterpret_cast<std::uint8_t*>(answer.data()), answer.size());
    if ((header[0] & 0x3F) != 0x23) die(fmt::format("login answered with opcode {:#x}", header[0]));
    if (load_be16(&header[36]) != 0)
        die(fmt::format("login refused with status {:#06x}", load_be16(&header[36])));
    exp_stat_sn_ = load_be32(&header[24]) + 1;
    max_cmd_sn_ = load_be32(&header[32]);
    std::map<std::string, std::string> keys;
    for (std::size_t at = 0; at < answer.size();) {
        const std::string pair = answer.c_str() + at;
        at += pair.size() + 1;
        if (const std::size_t equals = pair.find('='); equals != std::string::npos)
            keys[pair.substr(0, equals)] = pair.substr(equals + 1);
    }
    return keys;
}

void Session::connect_and_log_in() {
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(load_.options.port);
    if (inet_pton(AF_INET, load_.options.address.c_str(), &to.sin_addr) != 1) die("bad address");
    if (connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0)
        die(fmt::format("cannot connect to {}:{}", load_.options.address, load_.options.port));
    const int on = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    using namespace std::string_literals;
    exchange_login(0, 1,
                   fmt::format("InitiatorName=iqn.2026-11.io.goldlink:bench-{}", index_) + "\0"s +
                       "SessionType=Normal\0TargetName="s + load_.options.target +
                       "\0AuthMethod=None\0"s);
    const auto keys =
        exchange_login(1, 3,
                       fmt::format("MaxRecvDataSegmentLength={0}", kMaxSegmentBytes) + "\0"s +
                           fmt::format("MaxBurstLength={0}", kMaxSegmentBytes) + "\0"s +
                           fmt::format("FirstBurstLength={0}", kMaxSegmentBytes) + "\0"s +
                           "InitialR2T=No\0ImmediateData=Yes\0HeaderDigest=None\0DataDigest=None\0"s
                           "MaxOutstandingR2T=1\0MaxConnections=1\0ErrorRecoveryLevel=0\0"s
                           "DataPDUInOrder=Yes\0DataSequenceInOrder=Yes\0DefaultTime2Wait=2\0"s
                           "DefaultTime2Retain=0\0"s);
    const auto number = [&](const char* key, std::uint32_t otherwise) {
        const auto it = keys.find(key);
        std::uint32_t value = otherwise;
        if (it != keys.end())
            std::from_chars(it->second.data(), it->second.data() + it->second.size(), value);
        return value;
    };
    const auto yes = [&](const char* key, bool otherwise) {
        const auto it = keys.find(key);
        return it == keys.end() ? otherwise : it->second == "Yes";
    };
    first_burst_ = number("FirstBurstLength", 65536);
    target_segment_ = std::min(number("MaxRecvDataSegmentLength", 8192), kMaxSegmentBytes);
    immediate_data_ = yes("ImmediateData", true);
    initial_r2t_ = yes("InitialR2T", true);
    if (target_segment_ < 512) die("the target declares segments of under 512 bytes");
}

void Session::make_ready() {
    constexpr int kMaxAttentions = 8;
    for (int i = 0; i < kMaxAttentions; ++i) {
        std::array<std::uint8_t, kHeaderBytes> header{};
        header[0] = 0x01;
        header[1] = 0x81;  // final, simple
        header[9] = load_.options.lun;
        store_be32(&header[16], 0);
        store_be32(&header[24], cmd_sn_++);
        store_be32(&header[28], exp_stat_sn_);
        send_all(header);
        receive_all(header.data(), header.size());
        std::vector<std::uint8_t> sense((load_be24(&header[5]) + 3u) / 4 * 4);
        receive_all(sense.data(), sense.size());
        if ((header[0] & 0x3F) != 0x21) die("TEST UNIT READY was not answered by a SCSI response");
        exp_stat_sn_ = load_be32(&header[24]) + 1;
        note_window(header.data());
        if (header[2] == 0 && header[3] == 0) return;
    }
    die("the unit does not get ready");
}

void Session::issue_all() {
    for (std::uint32_t slot = 0; slot < slots_.size(); ++slot)
        if (!slots_[slot].busy) issue(slot);
    flush();
}

void Session::issue(std::uint32_t slot) {
    const Options& options = load_.options;
    if (!load_.issuing) return;
    if (static_cast<std::int32_t>(max_cmd_sn_ - cmd_sn_) < 0) {
        held_back_.push_back(slot);
        return;
    }
    const std::uint64_t blocks = options.set_bytes / options.block_bytes;
    const std::uint64_t block =
        options.sequential ? position_++ % blocks : load_.next_random() % blocks;
    const bool write =
        options.write_percent != 0 &&
        (options.write_percent == 100 || load_.next_random() % 100 < options.write_percent);
    slots_[slot] = {load_.batch_time_ns, true, write};
    ++in_flight_;

    const std::uint32_t length = options.block_bytes;
    const std::uint32_t immediate =
        write && immediate_data_ ? std::min({length, first_burst_, target_segment_}) : 0;
    const std::uint32_t unsolicited =
        write && !initial_r2t_ ? std::min(length, first_burst_) : immediate;
    std::uint8_t* header = new_header();
    header[0] = 0x01;
    const bool final = unsolicited == immediate;
    header[1] = static_cast<std::uint8_t>((final ? 0x80 : 0) | (write ? 0x20 : 0x40) | 0x01);
    store_be24(header + 5, immediate);
    header[9] = options.lun;
    store_be32(header + 16, slot);
    store_be32(header + 20, length);
    store_be32(header + 24, cmd_sn_++);
    store_be32(header + 28, exp_stat_sn_);
    header[32] = write ? 0x8A : 0x88;
    store_be64(header + 34, block * length / 512);
    store_be32(header + 42, length / 512);
    queue(header, kHeaderBytes);
    if (immediate != 0) queue(load_.data_out.data(), immediate);
    if (unsolicited > immediate) queue_data_out(slot, kNoTag, immediate, unsolicited - immediate);
}

void Session::queue_data_out(std::uint32_t slot, std::uint32_t transfer_tag, std::uint32_t offset,
                             std::uint32_t length) {
    for (std::uint32_t data_sn = 0; length > 0; ++data_sn) {
        const std::uint32_t piece = std::min(length, target_segment_);
        std::uint8_t* header = new_header();
        header[0] = 0x05;
        header[1] = piece == length ? 0x80 : 0x00;
        store_be24(header + 5, piece);
        header[9] = load_.options.lun;
        store_be32(header + 16, slot);
        store_be32(header + 20, transfer_tag);
        store_be32(header + 28, exp_stat_sn_);
        store_be32(header + 36, data_sn);
        store_be32(header + 40, offset);
        queue(header, kHeaderBytes);
        queue(load_.data_out.data() + offset, piece);
        offset += piece;
        length -= piece;
    }
}

void Session::flush() {
    constexpr std::size_t kVectorsAtOnce = 256;
    while (sent_ < queue_.size()) {
        msghdr message{};
        message.msg_iov = &queue_[sent_];
        message.msg_iovlen = std::min(queue_.size() - sent_, kVectorsAtOnce);
        const ssize_t sent = sendmsg(fd_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (sent <= 0) die("the target closed the connection");
        for (auto left = static_cast<std::size_t>(sent); left > 0;) {
            iovec& first = queue_[sent_];
            const std::size_t taken = std::min(left, first.iov_len);
            first.iov_base = static_cast<std::uint8_t*>(first.iov_base) + taken;
            first.iov_len -= taken;
            left -= taken;
            if (first.iov_len == 0) ++sent_;
        }
    }
    queue_.clear();
    sent_ = 0;
}

void Session::on_finished(std::uint32_t slot) {
    if (slot >= slots_.size() || !slots_[slot].busy) die("a response for no command of ours");
    slots_[slot].busy = false;
    --in_flight_;
    ++load_.totals.operations;
    load_.totals.bytes += load_.options.block_bytes;
    load_.totals.latency.add(load_.batch_time_ns - slots_[slot].started_ns);
    issue(slot);
    while (!held_back_.empty() && static_cast<std::int32_t>(max_cmd_sn_ - cmd_sn_) >= 0) {
        const std::uint32_t waiting = held_back_.back();
        held_back_.pop_back();
        issue(waiting);
    }
}

void Session::on_header(const std::uint8_t* header) {
    constexpr std::uint8_t kDataIn = 0x25, kResponse = 0x21, kReadyToTransfer = 0x31, kNopIn = 0x20;
    const std::uint32_t slot = load_be32(header + 16);
    switch (header[0] & 0x3F) {
        case kDataIn: {
            const bool has_status = (header[1] & 0x01) != 0;
            if (!has_status) return;
            if (header[3] != 0) die(fmt::format("a read ended with status {:#x}", header[3]));
            exp_stat_sn_ = load_be32(header + 24) + 1;
            note_window(header);
            return on_finished(slot);
        }
        case kResponse:
            if (header[2] != 0 || header[3] != 0)
                die(fmt::format("a command ended with response {:#x}, status {:#x}", header[2],
                                header[3]));
            exp_stat_sn_ = load_be32(header + 24) + 1;
            note_window(header);
            return on_finished(slot);
        case kReadyToTransfer:
            if (slot >= slots_.size() || !slots_[slot].write) die("an R2T for no write of ours");
            return queue_data_out(slot, load_be32(header + 20), load_be32(header + 40),
                                  load_be32(header + 44));
        case kNopIn:
            note_window(header);
            return;
        default:
            die(fmt::format("unexpected PDU with opcode {:#x}", header[0]));
    }
}

void Session::receive() {
    const ssize_t got = recv(fd_, load_.received.data(), load_.received.size(), MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) die("the target closed the connection");
    Bytes rest(load_.received.data(), static_cast<std::size_t>(got));
    while (!rest.empty()) {
        if (skip_ > 0) {
            const std::size_t dropped = std::min(skip_, rest.size());
            skip_ -= dropped;
            rest = rest.subspan(dropped);
            continue;
        }
        const std::uint8_t* header = rest.data();
        std::size_t taken = kHeaderBytes;
        if (partial_bytes_ > 0 || rest.size() < kHeaderBytes) {
            taken = std::min(kHeaderBytes - partial_bytes_, rest.size());
            std::copy_n(rest.data(), taken, partial_.data() + partial_bytes_);
            partial_bytes_ += taken;
            header = partial_.data();
        }
        rest = rest.subspan(taken);
        if (partial_bytes_ > 0) {
            if (partial_bytes_ < kHeaderBytes) return;
            partial_bytes_ = 0;
        }
        skip_ = (std::size_t{load_be24(header + 5)} + 3) / 4 * 4 + std::size_t{header[4]} * 4;
        on_header(header);
    }
}

// User and system time of a process, in microseconds.
double cpu_time_us(int pid) {
    std::ifstream file(fmt::format("/proc/{}/stat", pid));
    std::string line;
    std::getline(file, line);
    const std::size_t after_name = line.rfind(')');
    if (after_name == std::string::npos) die(fmt::format("there is no process {}", pid));
    const char* at = line.c_str() + after_name + 1;
    // Fields 14 and 15 of proc(5); the name is field 2.
    for (int field = 3; field <= 13; ++field) at = std::strchr(at + 1, ' ');
    char* end = nullptr;
    const double ticks = std::strtod(at, &end) + std::strtod(end, nullptr);
    return ticks * 1e6 / static_cast<double>(sysconf(_SC_CLK_TCK));
}

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
            session.connect_and_log_in();
            session.make_ready();
            epoll_event event{};
            event.events = EPOLLIN;
            event.data.u32 = i;
            if (epoll_ctl(epoll_, EPOLL_CTL_ADD, session.fd(), &event) != 0)
                die("epoll_ctl failed");
        }
        sending_.resize(sessions_.size());
    }

    void measure() {
        const Options& options = load_.options;
        load_.batch_time_ns = now_ns();
        for (const auto& session : sessions_) session->issue_all();
        watch_senders();
        run_for(options.warm_up_seconds);
        load_.totals.operations = 0;
        load_.totals.bytes = 0;
        load_.totals.latency.clear();
        const double cpu_before = options.pid != 0 ? cpu_time_us(options.pid) : 0;
        const std::uint64_t start = now_ns();
        run_for(options.seconds);
        const double elapsed = static_cast<double>(now_ns() - start) / 1e9;
        const double cpu = options.pid != 0 ? cpu_time_us(options.pid) - cpu_before : 0;
        const auto operations = static_cast<double>(load_.totals.operations);
        if (load_.totals.operations == 0) die("not one operation finished");
        const Histogram& latency = load_.totals.latency;
        fmt::print(
            "{{\"operations\": {}, \"seconds\": {:.3f}, \"iops\": {:.1f}, \"mb_per_s\": {:.2f}, "
            "\"latency_median_us\": {:.2f}, \"latency_p99_us\": {:.2f}, "
            "\"target_cpu_us_per_op\": {:.3f}}}\n",
            load_.totals.operations, elapsed, operations / elapsed,
            static_cast<double>(load_.totals.bytes) / elapsed / 1e6, latency.quantile_us(0.5),
            latency.quantile_us(0.99), cpu / operations);
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
        else if (name == "--core")
            options.core = static_cast<int>(number(0, 1023));
        else
            die(fmt::format("unknown option {}", name));
    }
    if (options.target.empty() || argc % 2 == 0)
        die("usage: load_generator --target IQN [--address A] [--port P] [--lun N] [--sessions N]\n"
            "  [--depth N] [--block BYTES] [--pattern random|sequential] [--writes PERCENT]\n"
            "  [--set-bytes N] [--seconds S] [--warm-up S] [--pid TARGET] [--core N]");
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
