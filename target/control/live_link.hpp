// LiveLink: one link on its reactor: the generation that runs, the one a boot prepared, those that
// end, and their sessions. Everything here happens on the link's reactor, but for the constructor.
//
// Invariants: a generation ends only when a session of a newer one has logged in, on reset or on
// removal. Units are closed when their last session has ended and no task is left in them; only
// then is their overlay given up for deletion.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "target/control/open_units.hpp"
#include "target/iscsi/directory.hpp"
#include "target/reactor/reactor.hpp"

namespace boost::json {
class object;
}

namespace goldlink::control {

// What a live link tells its owner; called on the reactor, must not wait for one.
struct LiveLinkListener {
    // The pending generation of this number is the current one from now on.
    std::function<void(std::uint64_t number)> generation_started;
    // Something of the current generation's life changed: logged_in, os_logged_in, written.
    std::function<void(const GenerationState& state)> stage_reached;
    std::function<void(std::string_view kind, const GenerationState& state,
                       boost::json::object data)>
        event;
    // Runs work that may block, off the reactor and in order.
    OpenUnits::RunBehind run_behind;
    // A login came this far, but no further.
    std::function<void(const iscsi::SessionInfo& info, std::string_view why)> refused;
    // A boot of this version begins: where to record what it reads, or null. Every trace that was
    // begun is ended after trace_time.
    std::chrono::seconds trace_time{0};
    std::function<std::shared_ptr<disk::ReadTrace>(const std::string& version,
                                                   std::uint64_t size_bytes)>
        begin_trace;
    std::function<void(const std::string& version, std::shared_ptr<const disk::ReadTrace> trace)>
        end_trace;
    // A disk is closed that had read this much of its version.
    std::function<void(const std::string& version, const disk::ReadCounters& reads)> reads_ended;
    // Nothing refers to these overlays any more; their files can go.
    std::function<void(std::vector<std::string> overlays)> overlays_released;
};

// For an admin, of a disk of which OverlayUsage says so.
inline constexpr std::string_view kStorageFailed =
    "this server's storage could not keep what was written to the overlay (its system log says "
    "why); start goldlink-target again when the storage works: until then writes fail, and what "
    "was not flushed before may be lost";

struct LiveSession {
    iscsi::SessionInfo info;
    std::string since;  // RFC 3339
    iscsi::SessionControl* control = nullptr;
    bool ending = false;
};

struct LinkReport {
    std::uint64_t generation = 0;
    std::optional<std::uint64_t> pending_generation;
    std::vector<LiveSession> sessions;  // `control` unset
    disk::OverlayUsage overlay;         // of all disks together
    disk::ReadCounters reads;
    struct Disk {
        DiskState state;
        disk::OverlayUsage overlay;
        disk::ReadCounters reads;
    };
    std::vector<Disk> disks;  // of the current generation; empty while it is not open
    bool open = false;        // the current generation has its units
    bool ready = false;       // and takes logins
    std::string problem;
};

class LiveLink final : public iscsi::LinkEndpoint, public std::enable_shared_from_this<LiveLink> {
  public:
    LiveLink(reactor::Reactor& reactor, const OverlaySettings& settings, LiveLinkListener listener);

    reactor::Reactor& reactor() const { return reactor_; }

    // What of `plan` is open here. The disks of a plan that open_disks opened after that fit as
    // long as this stays the same.
    SharedUnits shared(const UnitsPlan& plan) const;
    // Makes `plan` the running generation; sessions of the one before are ended.
    void replace_current(UnitsPlan plan);
    // States that the current generation cannot be served; logins are refused with the reason.
    void set_problem(const GenerationState& state, std::string problem);
    // Opens `plan` beside the running generation, in place of an earlier pending one.
    void prepare(UnitsPlan plan);
    void drop_pending();
    // Of this disk in every generation, from now on.
    void set_quota(std::uint16_t lun, std::uint64_t quota_bytes);
    // A disk that somebody beside its generations keeps open: whoever opens its overlay again gets
    // the same one.
    void note_held(const std::shared_ptr<OpenDisk>& disk);
    // While held, logins are refused. By what: "a commit"; "" lets go.
    void hold(std::string by) { held_by_ = std::move(by); }
    // Asks every session to log out within `seconds` and takes no new one; `drained` is called when
    // none is left.
    void drain(std::uint16_t seconds, std::function<void()> drained);
    // Ends all sessions and closes everything; `closed` is called when that is done.
    void close(iscsi::SessionEnd why, std::function<void()> closed);

    LinkReport report() const;
    const std::shared_ptr<OpenUnits>& units() const { return current_.units; }

    scsi::Device* session_started(const iscsi::SessionInfo& info,
                                  iscsi::SessionControl& control) override;
    void session_ended(iscsi::SessionControl& control, iscsi::SessionEnd why) override;
    void first_write(iscsi::SessionControl& control) override;

  private:
    struct Generation {
        GenerationState state;
        std::shared_ptr<OpenUnits> units;
        std::string problem;
        std::vector<LiveSession> sessions;
    };

    std::shared_ptr<OpenUnits> make_units(UnitsPlan plan);
    void promote_pending();
    void retire_current(iscsi::SessionEnd why);
    void close_retired();
    bool is_used(std::string_view overlay) const;
    bool has_sessions() const;
    Generation* generation_of(const iscsi::SessionControl& control);
    void trace_boot(Generation& generation);
    void note_reads(const OpenUnits& units);
    void note_login(Generation& generation, const iscsi::SessionInfo& info);

    reactor::Reactor& reactor_;
    const OverlaySettings& settings_;
    LiveLinkListener listener_;
    Generation current_;
    std::optional<Generation> pending_;
    std::vector<Generation> retired_;
    std::vector<std::weak_ptr<OpenDisk>> held_disks_;
    std::string held_by_;
    bool closed_ = false;
    bool retry_armed_ = false;
    std::function<void()> on_closed_;
    std::function<void()> on_drained_;
    bool draining_ = false;
};

// Keeps logins out of a link while what they would find is exchanged for something else, which
// takes as long as storage takes. On a thread that may wait for the reactor.
class LoginHold {
  public:
    // `wanted` is asked on the reactor.
    LoginHold(LiveLink& live, std::string by, const std::function<bool()>& wanted);
    ~LoginHold();
    LoginHold(const LoginHold&) = delete;
    LoginHold& operator=(const LoginHold&) = delete;
    void end();  // on the reactor; else the destructor does it

  private:
    LiveLink* live_ = nullptr;  // null: not held, or no more
};

std::string_view to_string(iscsi::SessionEnd why);
std::string isid_text(std::uint64_t isid);  // "400027230001"

}  // namespace goldlink::control
