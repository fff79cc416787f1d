// Queries on tasks, events and the boots stitched from them. One function a query; run them on a
// lent connection, in a transaction where several belong together (events last: they take a lock).
#pragma once

#include "manager/db/connection.hpp"
#include "manager/db/rows.hpp"

namespace goldlink::manager::db {

struct NewTask {
    std::string id, kind, subject, phase;  // phase: "upload" or "start"
    std::int64_t total_bytes = 0;
    std::optional<std::int64_t> version_id;
    std::optional<std::string> link_id, channel, upload, digest, created_by;
    std::string format;
    std::optional<std::int64_t> lun, blank_bytes;
    std::optional<std::string> source;
};

Result<> insert_task(Connection& c, const NewTask& task);
Result<std::vector<Task>> list_tasks(Connection& c, const std::optional<std::string>& state,
                                     const std::string& before_id, int limit);
Result<std::optional<Task>> find_task(Connection& c, const std::string& id);
// Those the reconciler works on (phases start and poll), oldest first.
Result<std::vector<Task>> active_tasks(Connection& c);
// Why none of them goes on for now.
Result<> note_waiting_tasks(Connection& c, const std::string& why);
Result<> set_task_progress(Connection& c, const std::string& id, std::int64_t done_bytes,
                           std::int64_t total_bytes, const std::string& message);
Result<> set_task_phase(Connection& c, const std::string& id, const std::string& phase,
                        const std::string& state, const std::string& message);
// The version that a task turned out to be about.
Result<> set_task_digest(Connection& c, const std::string& id, const std::string& digest);
// Only of a task that has not ended: false when it has.
Result<bool> end_task(Connection& c, const std::string& id, const std::string& state,
                      const std::string& message, const std::optional<std::string>& error,
                      const std::optional<std::string>& result_json);
Result<bool> request_cancel(Connection& c, const std::string& id);
// The sender's digests join an upload's source, and the import may start: false when it is past
// that already.
Result<bool> finish_upload(Connection& c, const std::string& id, const std::string& digests_json);
// Uploads whose progress was last noted over a minute ago: the request that fed them is gone. Those
// in pieces may take a day between two, unless they were cancelled.
Result<std::vector<Task>> stale_uploads(Connection& c);

struct NewEvent {
    std::optional<std::string> time;  // RFC 3339; nullopt: now
    std::string kind;
    std::optional<std::string> client, link_id, boot_id;
    std::string data = "{}";
};
Result<> add_event(Connection& c, const NewEvent& event);
Result<std::vector<Event>> list_events(Connection& c, std::int64_t after,
                                       const std::optional<std::string>& client, int limit);
Result<std::int64_t> last_event_id(Connection& c);
// Keeps the newest 100,000 events, 1,000 boots a client, and tasks of the last 90 days.
Result<> forget_old_history(Connection& c);

// How far the daemon's log was read; 0 at first.
Result<std::int64_t> event_cursor(Connection& c, const std::string& source);
// Moves it from `from` to `to`; false when another manager moved it meanwhile.
Result<bool> move_event_cursor(Connection& c, const std::string& source, std::int64_t from,
                               std::int64_t to);

struct OpenBoot {
    std::string id, client_id, client, state;
};
struct LinkClient {
    std::string client_id, client, link_id;
};
Result<std::optional<LinkClient>> client_of_link(Connection& c, const std::string& link_id);
Result<std::optional<LinkClient>> client_of_mac(Connection& c, const std::string& mac);
Result<std::optional<OpenBoot>> find_boot(Connection& c, const std::string& boot_id);
Result<std::optional<OpenBoot>> open_boot_of(Connection& c, const std::string& client_id);
Result<> insert_boot(Connection& c, const std::string& boot_id, const std::string& client_id,
                     const std::string& started_at);
// Ends the client's other open boots: a machine has one at a time.
Result<> end_other_boots(Connection& c, const std::string& client_id, const std::string& boot_id,
                         const std::string& at);
Result<> note_boot_facts(Connection& c, const std::string& boot_id,
                         const std::optional<std::string>& firmware,
                         const std::optional<std::string>& address,
                         const std::optional<std::string>& link_id,
                         std::optional<std::int64_t> generation);
// The first time of a stage counts.
Result<> add_boot_stage(Connection& c, const std::string& boot_id, const std::string& stage,
                        const std::string& at, const std::string& detail);
// A machine that was left to a menu, or failed, goes on with the same boot; not once it has ended
// for good or started again.
Result<> reopen_boot(Connection& c, const std::string& boot_id);
Result<> set_boot_running(Connection& c, const std::string& boot_id);
Result<> end_boot(Connection& c, const std::string& boot_id, const std::string& state,
                  const std::string& at, const std::optional<std::string>& problem);
// Ends it as failed, now.
Result<> end_boot_now(Connection& c, const std::string& boot_id, const std::string& problem);
// Running boots whose links have had no session for long: the machine is off.
Result<> end_boots_of_idle_links(Connection& c, const std::vector<std::string>& link_ids);
// The other way round: a machine that was thought off and came back within its boot.
Result<> reopen_boots_of_used_links(Connection& c, const std::vector<std::string>& link_ids);
struct StuckBoot {
    std::string id, client, last_stage;
};
// Boots that have made no step for ten minutes without reaching the operating system.
Result<std::vector<StuckBoot>> stuck_boots(Connection& c);

}  // namespace goldlink::manager::db
