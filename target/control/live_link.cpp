#include "target/control/live_link.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <boost/json.hpp>

#include "common/check.hpp"
#include "common/event_log.hpp"
#include "common/log.hpp"

namespace goldlink::control {
namespace {

namespace json = boost::json;

// iPXE's ISIDs are of type "enterprise number" (RFC 7143 11.12.5) with Etherboot's, 10019.
bool is_ipxe(std::uint64_t isid) { return (isid >> 16) == 0x40002723; }

json::object session_data(const iscsi::SessionInfo& info) {
    return {{"initiator_name", info.initiator_name},
            {"address", info.address},
            {"isid", isid_text(info.isid)}};
}

}  // namespace

std::string_view to_string(iscsi::SessionEnd why) {
    switch (why) {
        case iscsi::SessionEnd::logout:
            return "logout";
        case iscsi::SessionEnd::connection_lost:
            return "connection_lost";
        case iscsi::SessionEnd::timeout:
            return "timeout";
        case iscsi::SessionEnd::reinstated:
            return "reinstated";
        case iscsi::SessionEnd::generation_ended:
            return "generation_ended";
        case iscsi::SessionEnd::removed:
            return "removed";
        case iscsi::SessionEnd::protocol_error:
            return "protocol_error";
    }
    return "connection_lost";
}

std::string isid_text(std::uint64_t isid) { return fmt::format("{:012x}", isid); }

LoginHold::LoginHold(LiveLink& live, std::string by, const std::function<bool()>& wanted) {
    live.reactor().run_and_wait([&] {
        if (!wanted()) return;
        live.hold(std::move(by));
        live_ = &live;
    });
}

LoginHold::~LoginHold() {
    if (live_ != nullptr) live_->reactor().run_and_wait([this] { end(); });
}

void LoginHold::end() {
    if (live_ != nullptr) std::exchange(live_, nullptr)->hold("");
}

LiveLink::LiveLink(reactor::Reactor& reactor, const OverlaySettings& settings,
                   LiveLinkListener listener)
    : reactor_(reactor), settings_(settings), listener_(std::move(listener)) {}

SharedUnits LiveLink::shared(const UnitsPlan& plan) const {
    return OpenUnits::shared(plan, current_.units, held_disks_);
}

std::shared_ptr<OpenUnits> LiveLink::make_units(UnitsPlan plan) {
    const std::weak_ptr<LiveLink> self = weak_from_this();
    OpenUnits::DiskListener listener;
    listener.space_warning = [self, state = plan.generation](std::uint16_t lun, int percent) {
        if (const auto link = self.lock())
            link->listener_.event("space_warning", state, {{"lun", lun}, {"percent", percent}});
    };
    listener.storage_failed = [self, state = plan.generation,
                               link_id = plan.link_id](std::uint16_t lun) {
        log::error("link {}, lun {}: {}", link_id, lun, kStorageFailed);
        if (const auto link = self.lock())
            link->listener_.event("storage_failed", state, {{"lun", lun}});
    };
    return OpenUnits::make(std::move(plan), settings_, reactor_, current_.units, held_disks_,
                           listener, listener_.run_behind);
}

void LiveLink::replace_current(UnitsPlan plan) {
    CHECK(!closed_, "a closed link is not opened again");
    GenerationState state = plan.generation;
    auto units = make_units(std::move(plan));
    const bool is_first = current_.state.number == 0;
    if (!is_first) retire_current(iscsi::SessionEnd::generation_ended);
    current_ = Generation{std::move(state), std::move(units), {}, {}};
    close_retired();
}

void LiveLink::set_problem(const GenerationState& state, std::string problem) {
    if (current_.state.number != 0 && current_.units) retire_current(iscsi::SessionEnd::removed);
    current_ = Generation{state, nullptr, std::move(problem), {}};
    close_retired();
}

void LiveLink::prepare(UnitsPlan plan) {
    CHECK(!closed_, "a closed link prepares no boot");
    GenerationState state = plan.generation;
    auto units = make_units(std::move(plan));
    drop_pending();
    pending_ = Generation{std::move(state), std::move(units), {}, {}};
}

void LiveLink::note_held(const std::shared_ptr<OpenDisk>& disk) {
    std::erase_if(held_disks_, [](const auto& held) { return held.expired(); });
    held_disks_.push_back(disk);
}

void LiveLink::drop_pending() {
    if (!pending_) return;
    retired_.push_back(std::move(*pending_));
    pending_.reset();
    close_retired();
}

void LiveLink::set_quota(std::uint16_t lun, std::uint64_t quota_bytes) {
    const auto change = [&](Generation& generation) {
        for (DiskState& disk : generation.state.disks)
            if (disk.lun == lun) disk.quota_bytes = quota_bytes;
        if (generation.units) generation.units->set_quota(lun, quota_bytes);
    };
    change(current_);
    if (pending_) change(*pending_);
}

void LiveLink::retire_current(iscsi::SessionEnd why) {
    for (LiveSession& session : current_.sessions) {
        if (!std::exchange(session.ending, true)) session.control->end(why);
    }
    listener_.event("generation_end", current_.state, {});
    retired_.push_back(std::exchange(current_, Generation{}));
}

void LiveLink::promote_pending() {
    retire_current(iscsi::SessionEnd::generation_ended);
    current_ = std::move(*pending_);
    pending_.reset();
    listener_.generation_started(current_.state.number);
    close_retired();
}

bool LiveLink::is_used(std::string_view overlay) const {
    const auto uses = [overlay](const Generation& generation) {
        return std::any_of(generation.state.disks.begin(), generation.state.disks.end(),
                           [overlay](const DiskState& disk) { return disk.overlay == overlay; });
    };
    return uses(current_) || (pending_ && uses(*pending_)) ||
           std::any_of(retired_.begin(), retired_.end(), uses);
}

void LiveLink::close_retired() {
    std::vector<std::string> released;
    bool waits_for_tasks = false;
    for (std::size_t i = 0; i < retired_.size();) {
        Generation& generation = retired_[i];
        const bool last_user = generation.units && generation.units.use_count() == 1;
        if (!generation.sessions.empty() ||
            (last_user && generation.units->device().tasks_in_flight() > 0)) {
            waits_for_tasks = waits_for_tasks || generation.sessions.empty();
            ++i;
            continue;
        }
        const Generation ended = std::move(generation);
        if (last_user) note_reads(*ended.units);
        retired_.erase(retired_.begin() + static_cast<std::ptrdiff_t>(i));
        for (const DiskState& disk : ended.state.disks)
            if (!disk.overlay.empty() && !is_used(disk.overlay)) released.push_back(disk.overlay);
    }
    if (!released.empty()) listener_.overlays_released(std::move(released));
    if (waits_for_tasks && !std::exchange(retry_armed_, true)) {
        auto timer = std::make_shared<boost::asio::steady_timer>(reactor_.context(),
                                                                 std::chrono::milliseconds(20));
        timer->async_wait([self = shared_from_this(), timer](const boost::system::error_code&) {
            self->retry_armed_ = false;
            self->close_retired();
        });
    }
    if (closed_ && retired_.empty() && on_closed_) std::exchange(on_closed_, nullptr)();
}

bool LiveLink::has_sessions() const {
    return !current_.sessions.empty() ||
           std::any_of(retired_.begin(), retired_.end(),
                       [](const Generation& one) { return !one.sessions.empty(); });
}

void LiveLink::drain(std::uint16_t seconds, std::function<void()> drained) {
    draining_ = true;
    for (const LiveSession& session : current_.sessions)
        if (!session.ending) session.control->request_logout(seconds);
    if (!has_sessions()) return drained();
    on_drained_ = std::move(drained);
}

void LiveLink::close(iscsi::SessionEnd why, std::function<void()> closed) {
    closed_ = true;
    on_closed_ = std::move(closed);
    // Overlays stay: what becomes of them is the caller's to say.
    listener_.overlays_released = [](const std::vector<std::string>&) {};
    if (pending_) {
        retired_.push_back(std::move(*pending_));
        pending_.reset();
    }
    for (LiveSession& session : current_.sessions)
        if (!std::exchange(session.ending, true)) session.control->end(why);
    retired_.push_back(std::exchange(current_, Generation{}));
    close_retired();
}

LinkReport LiveLink::report() const {
    LinkReport report;
    report.generation = current_.state.number;
    if (pending_) report.pending_generation = pending_->state.number;
    for (const LiveSession& session : current_.sessions)
        report.sessions.push_back({session.info, session.since, nullptr, session.ending});
    if (current_.units) {
        report.overlay = current_.units->usage();
        report.reads = current_.units->counters();
        for (const auto& disk : current_.units->disks())
            report.disks.push_back({disk->state, disk->disk->usage(), disk->disk->counters()});
    }
    report.open = current_.units != nullptr;
    report.ready = current_.units != nullptr && held_by_.empty() && !closed_;
    report.problem = held_by_.empty() ? current_.problem : held_by_ + " of this link is running";
    return report;
}

scsi::Device* LiveLink::session_started(const iscsi::SessionInfo& info,
                                        iscsi::SessionControl& control) {
    const auto refuse = [&](std::string_view why) {
        listener_.refused(info, why);
        return nullptr;
    };
    if (closed_ || draining_) return refuse("the link is being removed");
    if (!held_by_.empty()) return refuse(held_by_ + " of the link is running");
    if (info.generation != 0 && pending_ && info.generation == pending_->state.number)
        promote_pending();
    // A credential that was replaced while this login was under way.
    if (info.generation != 0 && info.generation != current_.state.number)
        return refuse("a newer boot has replaced this one's credential");
    if (!current_.units) return refuse(current_.problem);
    current_.sessions.push_back({info, rfc3339_now(), &control, false});
    note_login(current_, info);
    return &current_.units->device();
}

// Stages of a boot: the first session is the firmware's (iPXE opens two, each with an ISID of its
// own), the first one after it that is not iPXE's is the operating system's. Later ones are
// reconnects of a running system.
void LiveLink::note_login(Generation& generation, const iscsi::SessionInfo& info) {
    GenerationState& state = generation.state;
    std::string_view kind = "reconnect";
    if (!state.logged_in) {
        kind = "login";
        state.logged_in = true;
        if (!state.boot_id.empty()) trace_boot(generation);
    } else if (is_ipxe(info.isid)) {
        kind = "ipxe_login";
    } else if (!state.os_logged_in) {
        kind = "os_login";
        state.os_logged_in = true;
    }
    listener_.stage_reached(state);
    listener_.event(kind, state, session_data(info));
}

// What a boot reads first, of each version that nobody has recorded yet.
void LiveLink::trace_boot(Generation& generation) {
    if (!listener_.begin_trace || !generation.units) return;
    for (const auto& disk : generation.units->disks()) {
        if (disk->state.type != DiskType::disk || disk->disk->read_trace) continue;
        auto trace = listener_.begin_trace(disk->state.version, disk->disk->geometry().size_bytes);
        if (!trace) continue;
        disk->disk->read_trace = trace;
        auto timer =
            std::make_shared<boost::asio::steady_timer>(reactor_.context(), listener_.trace_time);
        timer->async_wait([end = listener_.end_trace, timer, trace, version = disk->state.version,
                           disk = std::weak_ptr(disk)](const boost::system::error_code&) {
            if (const auto open = disk.lock()) open->disk->read_trace.reset();
            end(version, trace);
        });
    }
}

// Before `units` go, and with them the disks that nobody shares.
void LiveLink::note_reads(const OpenUnits& units) {
    if (!listener_.reads_ended) return;
    for (const auto& disk : units.disks())
        if (disk.use_count() == 1)
            listener_.reads_ended(disk->state.version, disk->disk->counters());
}

LiveLink::Generation* LiveLink::generation_of(const iscsi::SessionControl& control) {
    const auto holds = [&control](const Generation& generation) {
        return std::any_of(
            generation.sessions.begin(), generation.sessions.end(),
            [&control](const LiveSession& session) { return session.control == &control; });
    };
    if (holds(current_)) return &current_;
    for (Generation& generation : retired_)
        if (holds(generation)) return &generation;
    return nullptr;
}

void LiveLink::session_ended(iscsi::SessionControl& control, iscsi::SessionEnd why) {
    Generation* const generation = generation_of(control);
    CHECK(generation != nullptr, "a session that ends has started");
    const auto it = std::find_if(
        generation->sessions.begin(), generation->sessions.end(),
        [&control](const LiveSession& session) { return session.control == &control; });
    json::object data = session_data(it->info);
    data["why"] = to_string(why);
    generation->sessions.erase(it);
    listener_.event("session_end", generation->state, std::move(data));
    close_retired();
    if (on_drained_ && !has_sessions()) std::exchange(on_drained_, nullptr)();
}

void LiveLink::first_write(iscsi::SessionControl& control) {
    Generation* const generation = generation_of(control);
    if (generation == nullptr || generation->state.written) return;
    generation->state.written = true;
    if (generation == &current_) listener_.stage_reached(generation->state);
    for (const LiveSession& session : generation->sessions)
        if (session.control == &control)
            listener_.event("first_write", generation->state, session_data(session.info));
}

}  // namespace goldlink::control
