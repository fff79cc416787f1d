// One session of the load generator, with its own wire code: what a benchmark needs of RFC 7143.
// Login without authentication, READ(16) and WRITE(16) with immediate, unsolicited and solicited
// data, the command window. What it reads it drops. Any status but GOOD, or a PDU it does not
// expect, ends the program. One thread.
#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/bytes.hpp"
#include "tests/bench/load_measure.hpp"

namespace goldlink::bench {

constexpr std::size_t kHeaderBytes = 48;
constexpr unsigned kMaxDepth = 1024;

struct Options {
    std::string address = "127.0.0.1";
    std::uint16_t port = 3260;
    std::string target;
    std::uint8_t lun = 0;
    unsigned sessions = 1;
    unsigned idle = 0;  // sessions beside them that log in and ask for nothing
    unsigned depth = 1;
    std::uint32_t block_bytes = 4096;
    bool sequential = false;
    unsigned write_percent = 0;
    std::uint64_t set_bytes = 64u << 20;
    double seconds = 2;
    double warm_up_seconds = 0.5;
    int pid = 0;        // whose CPU time to report
    int core = -1;      // to run on
    bool bare = false;  // no login: the peer is loopback_echo
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
    Session(Load& load, unsigned index);
    ~Session();
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    void connect();
    void log_in();
    void make_ready();  // TEST UNIT READY until the attentions are gone
    int fd() const { return fd_; }
    bool wants_to_send() const { return sent_ < queue_.size(); }
    unsigned in_flight() const { return in_flight_; }
    Histogram& latency() { return latency_; }

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
    Histogram latency_;
    std::uint64_t position_ = 0;

    std::vector<std::array<std::uint8_t, kHeaderBytes>> headers_;
    std::size_t next_header_ = 0;
    std::vector<iovec> queue_;
    std::size_t sent_ = 0;

    std::array<std::uint8_t, kHeaderBytes> partial_{};  // a header that came in pieces
    std::size_t partial_bytes_ = 0;
    std::size_t skip_ = 0;  // data bytes still to drop
};

}  // namespace goldlink::bench
