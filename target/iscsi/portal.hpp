// PortalSet: the iSCSI portals of this target: listens, accepts, and hands each connection to the
// reactor that owns the link its first login request names; the login and the session run there.
//
// Threads: the functions below may be called from any thread that is not a reactor's, one at a
// time; session_count() and counters() from any thread. The reactors must be started before and
// stopped after this object; the directory must outlive it. One portal group, tag 1.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.hpp"
#include "target/iscsi/directory.hpp"

namespace goldlink::reactor {
class Reactor;
}

namespace goldlink::iscsi {

struct PortalOptions {
    std::size_t max_connections = 8192;
    std::size_t max_connections_per_address = 1024;
    std::size_t max_half_open = 512;  // accepted, not logged in yet; the oldest goes when exceeded
    unsigned logins_per_second_per_address = 200;  // twice as many in a burst
    unsigned login_timeout_ms = 15'000;            // from accept to full feature phase
    unsigned ping_interval_ms = 15'000;            // NOP-In after this much silence
    unsigned ping_timeout_ms = 20'000;  // for initiators that have answered a ping before
    unsigned stop_grace_ms = 1'000;     // between the logout request and closing, in stop()
};

// Totals since the start, but for `sessions`. Each reactor has its own; reading is cheap.
struct PortalCounters {
    std::uint64_t sessions = 0;  // in full feature phase now
    std::uint64_t connections_accepted = 0;
    std::uint64_t connections_refused = 0;  // over a limit of PortalOptions
    std::uint64_t logins = 0;               // that reached full feature phase
    std::uint64_t logins_refused = 0;       // answered with an error status, or timed out
    std::uint64_t logins_redirected = 0;    // sent on to another portal
    std::uint64_t commands = 0;             // SCSI commands
    std::uint64_t data_in_bytes = 0;        // to initiators
    std::uint64_t data_out_bytes = 0;       // from initiators
    std::uint64_t rejects = 0;              // Reject PDUs sent
    std::uint64_t digest_errors = 0;
    std::uint64_t task_management = 0;
};

class PortalSet {
  public:
    // `reactors[i]` is the reactor that TargetEntry::reactor == i names.
    PortalSet(std::vector<reactor::Reactor*> reactors, Directory& directory,
              PortalOptions options = {});
    ~PortalSet();  // stop()
    PortalSet(const PortalSet&) = delete;
    PortalSet& operator=(const PortalSet&) = delete;

    // "10.0.0.1:3260", "0.0.0.0:3260", "[fe80::1%eth0]:3260", "[::]:3260"; port 0 takes a free one.
    // An address in use or not of this host is an error that says so.
    Result<> listen(std::string_view address);

    // Where it listens, ports as bound, in the order of listen().
    std::vector<std::string> addresses() const;

    // Stops accepting, asks every session to log out (Async Message, event 1), waits at most
    // stop_grace_ms, closes what is left and returns when every task has completed and every
    // LinkEndpoint has had its session_ended. Later calls do nothing.
    void stop();

    std::size_t session_count() const;
    std::vector<PortalCounters> counters() const;  // one a reactor

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace goldlink::iscsi
