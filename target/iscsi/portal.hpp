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
    // A room of 300 PCs behind one NAT address: each two of iPXE's, then up to four of its system.
    std::size_t max_connections_per_address = 4096;
    // Of one initiator name with one link: iPXE's two, a system's paths, and what died unnoticed.
    std::size_t max_sessions_per_initiator = 32;
    // Accepted, not logged in yet; the oldest goes when exceeded. So many before their first
    // request is whole, and as many again on each reactor; each 64 KiB of text and a request.
    std::size_t max_half_open = 512;
    // Discovery asks for no secret: such a session lasts a while, and of those on a reactor the
    // oldest goes when an address, or all of them, have too many.
    unsigned discovery_timeout_ms = 60'000;  // from accept on
    std::size_t max_discovery_per_address = 32;
    std::size_t max_discovery = 512;
    unsigned logins_per_second_per_address = 300;  // twice as many in a burst
    unsigned login_timeout_ms = 15'000;            // from accept to full feature phase
    unsigned ping_interval_ms = 15'000;            // NOP-In after this much silence
    unsigned ping_timeout_ms = 20'000;  // for initiators that have answered a ping before
    // For a peer that takes no output or leaves a PDU unfinished (ProgressWatch); twice as long for
    // one that was asked for data and sends none.
    unsigned stall_timeout_ms = 30'000;
    unsigned stop_grace_ms = 1'000;  // between the logout request and closing, in stop()
    // Of TCP at the portals; empty: the system's. A paced one (bbr) takes more CPU for large reads
    // than all else here: 146 us per 256 KiB against 60. Refused by the kernel, a warning is logged
    // and the system's stays.
    std::string congestion_control = "cubic";
};

// Totals since the start, but for `sessions`. Each reactor has its own; reading is cheap.
struct PortalCounters {
    std::uint64_t sessions = 0;  // in full feature phase now
    std::uint64_t connections_accepted = 0;
    std::uint64_t refused_total = 0;      // over max_connections
    std::uint64_t refused_address = 0;    // over max_connections_per_address
    std::uint64_t refused_rate = 0;       // over logins_per_second_per_address
    std::uint64_t half_open_dropped = 0;  // for a later one, over max_half_open
    std::uint64_t login_timeouts = 0;
    std::uint64_t slow_readers = 0;            // dropped: took no output
    std::uint64_t slow_writers = 0;            // dropped: left a PDU or a write's data unfinished
    std::uint64_t silent_peers = 0;            // dropped: answered pings, and then no more
    std::uint64_t session_limit_refusals = 0;  // over max_sessions_per_initiator
    std::uint64_t discovery_dropped = 0;       // over max_discovery*, or discovery_timeout_ms
    std::uint64_t logins = 0;                  // that reached full feature phase
    std::uint64_t logins_refused = 0;          // answered with an error status, or timed out
    std::uint64_t logins_redirected = 0;       // sent on to another portal
    std::uint64_t commands = 0;                // SCSI commands
    std::uint64_t data_in_bytes = 0;           // to initiators
    std::uint64_t data_out_bytes = 0;          // from initiators
    std::uint64_t rejects = 0;                 // Reject PDUs sent
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
