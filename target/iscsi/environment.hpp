// Environment: what the sessions of one reactor share: the link table, buffer pools, the session
// table, counters. One per reactor; used on that reactor only, but for the counters, which any
// thread may read.
#pragma once

#include <atomic>
#include <cstdint>

#include "target/iscsi/buffer_pool.hpp"
#include "target/iscsi/directory.hpp"
#include "target/iscsi/output.hpp"
#include "target/iscsi/session_table.hpp"

namespace goldlink::iscsi {

// Written by one thread, read by any, without a locked instruction.
class Counter {
  public:
    void add(std::uint64_t n = 1) {
        value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
    }
    void subtract(std::uint64_t n = 1) {
        value_.store(value_.load(std::memory_order_relaxed) - n, std::memory_order_relaxed);
    }
    std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }

  private:
    std::atomic<std::uint64_t> value_{0};
};

struct ReactorCounters {
    Counter sessions, logins, logins_refused, logins_redirected, commands, data_in_bytes,
        data_out_bytes, rejects, digest_errors, task_management, half_open_dropped, login_timeouts,
        slow_readers, slow_writers, silent_peers, session_limit_refusals, discovery_dropped;
};

// The connection's way out, implemented by the socket and by tests.
class Transport {
  public:
    virtual ~Transport() = default;
    // Output was queued, or the connection has something to close: look at the end of this turn.
    virtual void output_pending() = 0;
    // The queue is long: send what the socket takes now. Must not call back into the session.
    virtual void flush() = 0;
};

struct Environment {
    Environment(Directory& directory_, void (*random_)(MutableBytes), unsigned reactor_)
        : directory(directory_), random(random_), reactor(reactor_) {}

    Directory& directory;
    void (*random)(MutableBytes);  // cryptographically random bytes
    unsigned reactor;              // index of this reactor in TargetEntry::reactor
    std::uint64_t ping_interval_ms = 15'000;
    std::uint64_t ping_timeout_ms = 20'000;
    std::uint64_t data_out_timeout_ms = 60'000;   // asked for, and none came
    std::size_t max_sessions_per_initiator = 32;  // with one target
    BufferPool buffers;
    OutputPduPool output_pdus;
    SessionTable sessions;
    ReactorCounters counters;
};

}  // namespace goldlink::iscsi
