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
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/event_log.hpp"
#include "target/control/background.hpp"
#include "target/control/boot_traces.hpp"
#include "target/control/live_link.hpp"
#include "target/control/refusal_filter.hpp"
#include "target/control/state_file.hpp"
#include "target/control/usage_turns.hpp"
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
    struct SetProblem {
        std::string link_id;
        Error error;
    };
    OperationResult<std::vector<SetProblem>> put_all(
        std::uint64_t revision, const std::vector<LinkDefinition>& definitions);
    // With `grace` its initiators are asked to log out, and get that long to do it.
    OperationResult<> remove(std::string_view id,
                             std::chrono::seconds grace = std::chrono::seconds(0));
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
    // Folders of overlays whose links are gone: their deletion failed, or somebody put them there.
    // With `remove` they are deleted. Those of a link that is just being removed are not among
    // them.
    struct LeftOverlays {
        std::string link_id;
        std::uint64_t bytes = 0;
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
    Result<> run_on(const LinkPointer& link, const std::function<Result<>(LiveLink&)>& work);
    OperationResult<> save();

    // Start (link_loading.cpp)
    Result<std::vector<LinkState>> parse_state_file(bool& host_restarted);
    void remove_orphans();

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

    std::mutex refusals_mutex_;
    RefusalFilter refusals_;
    StateFile file_;
    UsageTurns usage_turns_;
    Background background_;  // last: its work uses all of the above
};

}  // namespace goldlink::control
