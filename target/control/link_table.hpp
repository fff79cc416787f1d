// LinkTable: the target's links: what the registry wants, what runs, and what logins may find.
//
// Threads: the operations run on threads that may block (control API, tasks), one at a time per
// link. Reactors call the Directory functions and, through LiveLink, the listener. mutex_ guards
// the table's memory, is held briefly, and never while waiting for a reactor or a disk.
//
// Persistence: every operation returns after its state is durable. What a reactor changes (a login
// makes a generation current) is saved behind it: a restart in between finds the pending generation
// with its overlay and credential, and the same login makes it current again. A restart of the host
// ends discard generations: their overlays are never synced, so what is left of them is not what
// the client wrote.
//
// What destroys: an operation that names the link or the trash entry. Where the state file is
// missing or damaged the overlays wait, untouched, for the manager to say whose they are.
#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "common/event_log.hpp"
#include "target/control/background.hpp"
#include "target/control/boot_traces.hpp"
#include "target/control/live_link.hpp"
#include "target/control/overlay_trash.hpp"
#include "target/control/refusal_filter.hpp"
#include "target/control/state_file.hpp"
#include "target/control/usage_turns.hpp"
#include "target/disk/overlay_salvage.hpp"
#include "target/store/version_diff.hpp"
#include "target/usage/disk_use.hpp"

namespace goldlink::control {

struct BootRequest {
    std::string boot_id;
    std::string initiator;  // "": not stated
};

struct BootAnswer {
    GenerationState generation;
    std::string iqn;
};

struct LinkView {
    LinkState state;
    LinkReport report;
};

// Problems that the API names more precisely than an ErrorKind does.
struct OperationError {
    Error error;
    std::string type;  // problem type slug; "" takes the kind's
    std::vector<std::string> links;
};
template <typename T = void>
using OperationResult = tl::expected<T, OperationError>;

// A version that was made of a link's disk.
struct MadeVersion {
    store::VersionInfo info;
    std::string base;   // digest of the version the disk ran on
    bool live = false;  // made while a client ran: as after a power cut at that moment
};

class LinkTable final : public iscsi::Directory {
  public:
    LinkTable(std::filesystem::path state_folder, OverlaySettings settings,
              store::ImageStore& store, EventLog& events, std::vector<reactor::Reactor*> reactors,
              BootTraces& traces);
    ~LinkTable() override;

    // Loads the persisted state and opens every link. A link that cannot be opened is listed with
    // its problem; only a state file that cannot be understood is an error.
    Result<> load();
    // Ends all sessions' links and closes their disks. The portals must be stopped before.
    void close();

    OperationResult<LinkView> put(const LinkDefinition& definition);
    // The whole set. What was wrong with single links is in `problems`; the others are served.
    // mass-removal when more than one link with a kept disk would go, unless their number is
    // `confirmed`.
    struct SetProblem {
        std::string link_id;
        Error error;
    };
    OperationResult<std::vector<SetProblem>> put_all(std::uint64_t revision,
                                                     const std::vector<LinkDefinition>& definitions,
                                                     std::optional<std::uint64_t> confirmed = {});
    struct Removal {
        std::chrono::seconds grace{0};  // its initiators are asked to log out, and get that long
        std::optional<std::uint64_t> revision;  // stale-revision when the link is of a later one
        bool to_trash = true;  // what was written to its kept disks; false: it is deleted
    };
    OperationResult<> remove(std::string_view id, const Removal& removal);
    OperationResult<> remove(std::string_view id) { return remove(id, Removal()); }
    // A removed link again, with its kept disks as they were; its discard disks begin anew.
    OperationResult<LinkView> restore(const std::string& trash_entry);
    OverlayTrash& trash() { return trash_; }
    OperationResult<BootAnswer> boot(std::string_view id, const BootRequest& request);
    // `lun`: only that disk starts anew; the others keep what was written to them.
    OperationResult<> reset(std::string_view id, bool force, std::optional<std::uint16_t> lun);
    // Sends the link's later logins to another portal, or serves them again. Sessions stay.
    OperationResult<> redirect(std::string_view id, std::optional<iscsi::Redirect> to);
    // Makes the blocks of the link's super disk a new version, which the link then runs on with an
    // empty overlay. `lun` says which when there are several. Refused while sessions live. Long: on
    // a task thread.
    OperationResult<MadeVersion> commit(std::string_view id, std::optional<std::uint16_t> lun,
                                        store::Progress& progress);
    // What the client of a disk wrote, beside what a version changed over the one the disk is on.
    struct Comparison {
        std::string base;  // the version the disk is on
        store::Overlap overlap;
    };
    OperationResult<Comparison> compare(std::string_view id, std::optional<std::uint16_t> lun,
                                        std::string_view version);
    // A keep or super disk goes on over another version: afresh, or with what was written laid over
    // it, which is refused when that version changed some of the same blocks, unless forced.
    // Refused while sessions live. Repeated after it was done, it does nothing. Long, as above.
    struct RebaseRequest {
        std::uint16_t lun = 0;
        std::string from, to;  // the version the disk is on, and the one it is to be on
        bool keep_written = false;
        bool force = false;
    };
    struct Rebased {
        std::string from, to;
        std::optional<store::Overlap> overlap;  // nullopt: it was on that version already
    };
    OperationResult<Rebased> rebase(std::string_view id, const RebaseRequest& request,
                                    store::Progress& progress);
    // Makes what a disk of the link holds now a new version, whatever its policy, while its client
    // goes on; the link stays what it is. `lun` says which when there are several. Long, as above.
    OperationResult<MadeVersion> save_disk(std::string_view id, std::optional<std::uint16_t> lun,
                                           store::Progress& progress);

    // Reads every block of a disk's overlay and compares it with what was written; the disk knows
    // the bad ones from then on. Its client goes on. Long, as above.
    struct OverlayCheck {
        std::uint16_t lun = 0;
        std::uint64_t checked_bytes = 0, bad_bytes = 0;
        std::vector<disk::OverlaySalvage::Range> bad;  // at most OverlaySalvage::kMaxRanges
    };
    OperationResult<OverlayCheck> verify(std::string_view id, std::optional<std::uint16_t> lun,
                                         store::Progress& progress);
    // The same for who has time: at most kCompareStepBytes of the overlay from a chunk on.
    // unavailable while something else looks into a disk, conflict when the disk has another
    // overlay by now.
    static constexpr std::uint32_t kCompareStepBytes = 4 << 20;
    struct CompareStep {
        std::uint64_t looked_bytes = 0, bad_bytes = 0;
        std::optional<std::uint64_t> next_chunk;  // where to go on; nullopt: it was the last
    };
    OperationResult<CompareStep> compare_some(std::string_view id, std::uint16_t lun,
                                              const std::string& overlay, std::uint64_t chunk);
    // Makes a version of what can be read of a keep or super disk that is damaged, served or not,
    // and says what of it is lost or doubtful. The link stays what it is. Refused while sessions
    // live. Long, as above.
    struct Salvaged {
        MadeVersion version;
        std::uint16_t lun = 0;
        disk::OverlaySalvage::Report report;
    };
    OperationResult<Salvaged> salvage(std::string_view id, std::optional<std::uint16_t> lun,
                                      store::Progress& progress);

    // What fills the overlay of a disk, while its client goes on. One at a time on this node, and
    // it ends when anything else wants the disk. Up to a minute, on a thread that may block.
    struct Usage {
        std::string version;  // the disk is on
        bool live = false;
        usage::DiskUse disk;
    };
    OperationResult<Usage> usage(std::string_view id, std::uint16_t lun, std::uint32_t files);
    // Ends what usage() does now, and refuses it from here on.
    void stop_looking() { usage_turns_.stop(); }

    std::optional<LinkView> view(std::string_view id);
    std::vector<LinkView> view_all();
    // What clients have read of each version since this target started, overlays not counted.
    std::map<std::string, disk::ReadCounters> reads_by_version();
    void version_removed(const std::string& digest);
    std::vector<std::string> users_of_version(std::string_view digest) const;
    // By a link, by the trash, or by an overlay that waits for its link to be known.
    bool needs_version(const std::string& digest) const;
    // Why overlays wait for the manager to name their links; "" when none do.
    std::string state_problem() const;
    bool has_state() const;  // links, or overlays that wait
    // Folders of overlays whose links are gone: their deletion failed, or somebody put them there.
    // Those of a link that is just being removed are not among them. Removed, they are deleted, or
    // put into the trash where they may be of a keep or super disk.
    struct LeftOverlays {
        std::string link_id;
        std::uint64_t bytes = 0;
        bool is_kept = false;
    };
    std::vector<LeftOverlays> left_overlays();
    Result<> remove_left_overlays(const std::string& link_id);
    // Opens again what waited for a version that an import has now brought.
    void retry_problems();
    std::uint64_t revision() const;
    std::size_t size() const;

    std::shared_ptr<const iscsi::TargetEntry> find_target(std::string_view iqn) const override;
    std::vector<std::shared_ptr<const iscsi::TargetEntry>> list_targets(
        std::string_view initiator_name) const override;
    void login_refused(std::string_view iqn, std::string_view initiator_name,
                       std::string_view address, std::string_view why) override;

  private:
    struct Link {
        std::string id;
        unsigned reactor = 0;
        std::shared_ptr<LiveLink> live;
        std::mutex operation;  // one control operation at a time; taken before mutex_
        LinkState state;       // guarded by mutex_, as `removed`
        bool removed = false;
        std::string busy_with;  // "a commit": what keeps other operations out; guarded by operation
        std::string problem;    // why its generation is not open, as last said; guarded by mutex_
        bool waits = false;     // for a folder or files that may come back; guarded by mutex_
        // What snapshot() made last, and of what: one link changes at a time, of up to kMaxLinks.
        LinkState told;
        std::string told_text;
    };
    using LinkPointer = std::shared_ptr<Link>;
    using Listing = std::map<std::string, std::shared_ptr<const iscsi::TargetEntry>, std::less<>>;

    // Link table (link_table.cpp)
    LinkPointer find(std::string_view id) const;
    LinkPointer make_link(std::string id);  // mutex_ held
    LiveLinkListener make_listener(const std::string& id);
    LinkState state_of(const LinkPointer& link) const;
    LinkView view_of(const LinkPointer& link);
    void list(const LinkPointer& link);  // mutex_ held
    void unlist(const Link& link);       // mutex_ held
    void generation_started(const std::string& id, std::uint64_t number);
    void stage_reached(const std::string& id, const GenerationState& state);
    void destroy_overlays(const std::string& id, const std::vector<std::string>& overlays);
    std::string snapshot() const;
    void save_behind();

    // Definitions (link_put.cpp)
    OperationResult<LinkPointer> reserve(const LinkDefinition& definition);
    OperationResult<> apply(const LinkPointer& link, const LinkDefinition& definition);
    OperationResult<> check_change(const LinkState& old, const LinkDefinition& wanted,
                                   const LinkReport& report, const LinkPointer& link);
    void follow_quotas(const LinkPointer& link, const LinkDefinition& wanted);
    // Operations (link_operations.cpp)
    Result<UnitsPlan> plan(const LinkPointer& link, const GenerationState& generation);
    OperationResult<> check_usable(const LinkPointer& link);  // operation held
    Result<> open_on(const LinkPointer& link, const GenerationState& generation,
                     const std::function<void(LiveLink&, UnitsPlan)>& use);  // operation held
    void open_current(const LinkPointer& link, const GenerationState& generation, bool unless_open);
    OperationResult<> start_commit(const LinkPointer& link, std::optional<std::uint16_t> lun,
                                   std::shared_ptr<OpenDisk>& disk);
    OperationResult<> finish_commit(const LinkPointer& link, std::uint16_t lun,
                                    const std::string& digest);
    OperationResult<> move_on(const LinkPointer& link, const LinkDefinition& definition,
                              const GenerationState& generation);  // operation held
    // Rebase (link_rebase.cpp)
    OperationResult<std::shared_ptr<OpenDisk>> start_rebase(const LinkPointer& link,
                                                            const RebaseRequest& request);
    OperationResult<Rebased> prepare_rebase(const LinkPointer& link, const RebaseRequest& request,
                                            std::shared_ptr<OpenDisk> disk,
                                            const GenerationState& generation,
                                            store::Progress& progress);
    // Null `generation`: the link stays what it is.
    OperationResult<> finish_rebase(const LinkPointer& link, const LinkDefinition& definition,
                                    const GenerationState* generation);
    OperationResult<std::shared_ptr<OpenDisk>> disk_to_save(const LinkPointer& link,
                                                            std::optional<std::uint16_t> lun,
                                                            bool& live);
    OperationResult<DiskState> start_salvage(const LinkPointer& link,
                                             std::optional<std::uint16_t> lun);  // link_damage.cpp
    Result<> run_on(const LinkPointer& link, const std::function<Result<>(LiveLink&)>& work);
    OperationResult<> save();

    // Links whose overlays are not there, or not readable, are tried again (link_waiting.cpp)
    void note_opened(const LinkPointer& link, const GenerationState& generation,
                     const Result<>& opened);  // mutex_ held
    void retry_waiting();
    void run_retries();
    void stop_retries();

    // Start (link_loading.cpp)
    Result<std::vector<LinkState>> parse_state_file(bool& host_restarted);
    Result<std::vector<LinkState>> read_states(const std::string& content, bool& host_restarted);
    void note_lost_state(std::string why);
    std::optional<GenerationState> found_generation(const LinkDefinition& wanted) const;
    std::optional<GenerationState> generation_in_folder(const LinkDefinition& wanted) const;
    // Trash (link_trash.cpp)
    using OverlayNames = std::set<std::filesystem::path>;  // link id / overlay
    std::optional<TrashEntry> trash_entry(const LinkPointer& link);
    void finish_removal(const std::string& id, const std::optional<TrashEntry>& entry);
    Result<> trash_left(const std::string& link_id);
    bool take_back_unnamed(const std::string& link_id);
    // Folders with names of this form hold overlays whose deletion has begun.
    static constexpr std::string_view kLeftPrefix = ".left-";
    void settle_trash();                                    // mutex_ held
    void settle_orphans(const OverlayNames& were_discard);  // mutex_ held

    std::filesystem::path path_;
    std::string host_boot_id_;  // the kernel's: what was not synced is lost when it changes
    OverlaySettings settings_;
    store::ImageStore& store_;
    EventLog& events_;
    std::vector<reactor::Reactor*> reactors_;
    BootTraces& traces_;

    mutable std::mutex mutex_;
    std::map<std::string, LinkPointer, std::less<>> links_;
    std::shared_ptr<const Listing> listing_ = std::make_shared<Listing>();
    std::uint64_t revision_ = 0;
    std::vector<std::size_t> links_per_reactor_;
    std::map<std::string, disk::ReadCounters> ended_reads_;  // of disks that are closed
    std::set<std::string> leaving_;  // removed links whose overlays are still to be deleted
    std::string state_problem_;      // set at the start, with the next
    std::set<std::string> waiting_versions_;  // of overlays whose links are not known

    std::mutex retries_mutex_;
    std::condition_variable retries_end_;
    bool retries_ended_ = false;
    std::thread retries_;

    std::mutex refusals_mutex_;
    RefusalFilter refusals_;
    OverlayTrash trash_;
    StateFile file_;
    UsageTurns usage_turns_;
    Background background_;  // last: its work uses all of the above
};

}  // namespace goldlink::control
