#include "manager/db/history.hpp"

namespace goldlink::manager::db {
namespace {

Task read_task(const Row& row) {
    Task task;
    task.id = row.text(0);
    task.kind = row.text(1);
    task.subject = row.text(2);
    task.state = row.text(3);
    task.phase = row.text(4);
    task.done_bytes = row.integer(5);
    task.total_bytes = row.integer(6);
    task.message = row.text(7);
    task.error = row.optional_text(8);
    task.result = row.optional_text(9);
    task.created_at = row.text(10);
    task.finished_at = row.optional_text(11);
    task.version_id = row.optional_integer(12);
    task.link_id = row.optional_text(13);
    task.channel = row.optional_text(14);
    task.upload = row.optional_text(15);
    task.digest = row.optional_text(16);
    task.format = row.text(17);
    task.cancel_requested = row.boolean(18);
    task.lun = row.optional_integer(19);
    task.blank_bytes = row.optional_integer(20);
    task.source = row.optional_text(21);
    return task;
}
#define SELECT_TASK                                                                             \
    "SELECT id, kind, subject, state, phase, done_bytes, total_bytes, message, error, result,"  \
    " iso(created_at), iso(finished_at), version_id, link_id, channel, upload, digest, format," \
    " cancel_requested, lun, blank_bytes, source FROM tasks "

OpenBoot read_boot(const Row& row) { return {row.text(0), row.text(1), row.text(2), row.text(3)}; }
LinkClient read_link_client(const Row& row) { return {row.text(0), row.text(1), row.text(2)}; }

}  // namespace

Result<> insert_task(Connection& c, const NewTask& task) {
    GOLDLINK_TRY(c.query(
        "INSERT INTO tasks (id, kind, subject, state, phase, total_bytes, version_id, link_id,"
        " channel, upload, digest, created_by, format, lun, blank_bytes, source)"
        " VALUES ($1, $2, $3, CASE WHEN $4 = 'upload' THEN 'running' ELSE 'queued' END, $4, $5, $6,"
        " $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        {task.id, task.kind, task.subject, task.phase, task.total_bytes, task.version_id,
         task.link_id, task.channel, task.upload, task.digest, task.created_by, task.format,
         task.lun, task.blank_bytes, task.source}));
    return {};
}

Result<std::vector<Task>> list_tasks(Connection& c, const std::optional<std::string>& state,
                                     const std::string& before_id, int limit) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query(SELECT_TASK
                "WHERE ($1::text IS NULL OR state = $1) AND ($2 = '' OR (created_at, id) <"
                " (SELECT created_at, id FROM tasks WHERE id = nullif($2, '')::uuid))"
                " ORDER BY created_at DESC, id DESC LIMIT $3",
                {state, before_id, limit}));
    return rows.map(read_task);
}

Result<std::optional<Task>> find_task(Connection& c, const std::string& id) {
    GOLDLINK_TRY_ASSIGN(const Rows rows, c.query(SELECT_TASK "WHERE id = $1", {id}));
    return rows.first(read_task);
}

Result<std::vector<Task>> active_tasks(Connection& c) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query(SELECT_TASK "WHERE phase IN ('start', 'poll') ORDER BY created_at LIMIT 200"));
    return rows.map(read_task);
}

Result<> note_waiting_tasks(Connection& c, const std::string& why) {
    GOLDLINK_TRY(
        c.query("UPDATE tasks SET message = $1, updated_at = now()"
                " WHERE phase IN ('start', 'poll') AND message <> $1",
                {why}));
    return {};
}

Result<> set_task_progress(Connection& c, const std::string& id, std::int64_t done_bytes,
                           std::int64_t total_bytes, const std::string& message) {
    GOLDLINK_TRY(c.query(
        "UPDATE tasks SET done_bytes = $2, total_bytes = $3, message = $4, updated_at = now()"
        " WHERE id = $1 AND phase <> 'end'",
        {id, done_bytes, total_bytes, message}));
    return {};
}

Result<> set_task_phase(Connection& c, const std::string& id, const std::string& phase,
                        const std::string& state, const std::string& message) {
    GOLDLINK_TRY(
        c.query("UPDATE tasks SET phase = $2, state = $3, message = $4, updated_at = now()"
                " WHERE id = $1 AND phase <> 'end'",
                {id, phase, state, message}));
    return {};
}

Result<> set_task_digest(Connection& c, const std::string& id, const std::string& digest) {
    GOLDLINK_TRY(
        c.query("UPDATE tasks SET digest = $2 WHERE id = $1 AND phase <> 'end'", {id, digest}));
    return {};
}

Result<bool> end_task(Connection& c, const std::string& id, const std::string& state,
                      const std::string& message, const std::optional<std::string>& error,
                      const std::optional<std::string>& result_json) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query("UPDATE tasks SET phase = 'end', state = $2, message = $3, error = $4, result = $5,"
                " updated_at = now(), finished_at = now() WHERE id = $1 AND phase <> 'end'",
                {id, state, message, error, result_json}));
    return rows.affected() > 0;
}

Result<bool> request_cancel(Connection& c, const std::string& id) {
    GOLDLINK_TRY_ASSIGN(const Rows rows,
                        c.query("UPDATE tasks SET cancel_requested = true, message = 'cancelling'"
                                " WHERE id = $1 AND phase <> 'end'",
                                {id}));
    return rows.affected() > 0;
}

Result<bool> finish_upload(Connection& c, const std::string& id, const std::string& digests_json) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query("UPDATE tasks SET phase = 'start', state = 'queued', updated_at = now(),"
                " message = 'arrived; waits to be imported',"
                " source = source || jsonb_build_object('sha256', $2::jsonb)"
                " WHERE id = $1 AND phase = 'upload' AND source IS NOT NULL",
                {id, digests_json}));
    return rows.affected() > 0;
}

Result<std::vector<Task>> stale_uploads(Connection& c) {
    GOLDLINK_TRY_ASSIGN(const Rows rows,
                        c.query(SELECT_TASK "WHERE phase = 'upload'"
                                            " AND (updated_at < now() - CASE WHEN source IS NULL"
                                            " THEN interval '1 minute' ELSE interval '1 day' END"
                                            " OR (source IS NOT NULL AND cancel_requested))"));
    return rows.map(read_task);
}

Result<> add_event(Connection& c, const NewEvent& event) {
    GOLDLINK_TRY(
        c.query("SELECT add_event($1, $2, $3, $4, $5, $6)",
                {event.time, event.kind, event.client, event.link_id, event.boot_id, event.data}));
    return {};
}

Result<std::vector<Event>> list_events(Connection& c, std::int64_t after,
                                       const std::optional<std::string>& client, int limit) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query("SELECT id, iso(time), kind, client, link_id, boot_id, data FROM events"
                " WHERE id > $1 AND ($2::text IS NULL OR lower(client) = lower($2))"
                " ORDER BY id LIMIT $3",
                {after, client, limit}));
    return rows.map([](const Row& row) {
        return Event{row.integer(0),       row.text(1),          row.text(2), row.optional_text(3),
                     row.optional_text(4), row.optional_text(5), row.text(6)};
    });
}

Result<std::int64_t> last_event_id(Connection& c) {
    GOLDLINK_TRY_ASSIGN(const Rows rows, c.query("SELECT coalesce(max(id), 0) FROM events"));
    return rows[0].integer(0);
}

Result<> forget_old_history(Connection& c) {
    GOLDLINK_TRY(
        c.query("DELETE FROM events WHERE id <= (SELECT id FROM events ORDER BY id DESC OFFSET "
                "100000 LIMIT 1)"));
    GOLDLINK_TRY(
        c.query("DELETE FROM boots b USING clients c WHERE b.client_id = c.id AND b.started_at <"
                " (SELECT started_at FROM boots WHERE client_id = c.id ORDER BY started_at DESC"
                "  OFFSET 1000 LIMIT 1)"));
    GOLDLINK_TRY(c.query("DELETE FROM tasks WHERE finished_at < now() - interval '90 days'"));
    return {};
}

Result<std::int64_t> event_cursor(Connection& c, const std::string& source) {
    GOLDLINK_TRY(
        c.query("INSERT INTO event_sources (name) VALUES ($1) ON CONFLICT DO NOTHING", {source}));
    GOLDLINK_TRY_ASSIGN(const Rows rows,
                        c.query("SELECT next_seq FROM event_sources WHERE name = $1", {source}));
    return rows[0].integer(0);
}

Result<bool> move_event_cursor(Connection& c, const std::string& source, std::int64_t from,
                               std::int64_t to) {
    GOLDLINK_TRY_ASSIGN(const Rows rows, c.query("UPDATE event_sources SET next_seq = $3"
                                                 " WHERE name = $1 AND next_seq = $2",
                                                 {source, from, to}));
    return rows.affected() > 0;
}

Result<std::optional<LinkClient>> client_of_link(Connection& c, const std::string& link_id) {
    GOLDLINK_TRY_ASSIGN(const Rows rows,
                        c.query("SELECT c.id, c.name, l.id FROM links l"
                                " JOIN clients c ON c.id = l.client_id WHERE l.id = $1",
                                {link_id}));
    return rows.first(read_link_client);
}

Result<std::optional<LinkClient>> client_of_mac(Connection& c, const std::string& mac) {
    GOLDLINK_TRY_ASSIGN(const Rows rows,
                        c.query("SELECT c.id, c.name, coalesce(l.id::text, '') FROM client_macs m"
                                " JOIN clients c ON c.id = m.client_id"
                                " LEFT JOIN links l ON l.client_id = c.id WHERE m.mac = $1",
                                {mac}));
    return rows.first(read_link_client);
}

#define SELECT_OPEN_BOOT \
    "SELECT b.id, b.client_id, c.name, b.state FROM boots b JOIN clients c ON c.id = b.client_id "

Result<std::optional<OpenBoot>> find_boot(Connection& c, const std::string& boot_id) {
    GOLDLINK_TRY_ASSIGN(const Rows rows, c.query(SELECT_OPEN_BOOT "WHERE b.id = $1", {boot_id}));
    return rows.first(read_boot);
}

Result<std::optional<OpenBoot>> open_boot_of(Connection& c, const std::string& client_id) {
    GOLDLINK_TRY_ASSIGN(const Rows rows,
                        c.query(SELECT_OPEN_BOOT "WHERE b.client_id = $1 AND b.ended_at IS NULL"
                                                 " ORDER BY b.started_at DESC LIMIT 1",
                                {client_id}));
    return rows.first(read_boot);
}

Result<> insert_boot(Connection& c, const std::string& boot_id, const std::string& client_id,
                     const std::string& started_at) {
    GOLDLINK_TRY(c.query(
        "INSERT INTO boots (id, client_id, started_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        {boot_id, client_id, started_at}));
    return {};
}

Result<> end_other_boots(Connection& c, const std::string& client_id, const std::string& boot_id,
                         const std::string& at) {
    GOLDLINK_TRY(
        c.query("UPDATE boots SET ended_at = greatest($3::timestamptz, started_at),"
                " problem = CASE WHEN state = 'booting' THEN 'the client started again before its"
                " operating system was up' ELSE problem END,"
                " state = CASE WHEN state = 'booting' THEN 'failed' ELSE 'ended' END"
                " WHERE client_id = $1 AND id <> $2 AND ended_at IS NULL AND started_at <= $3",
                {client_id, boot_id, at}));
    return {};
}

Result<> note_boot_facts(Connection& c, const std::string& boot_id,
                         const std::optional<std::string>& firmware,
                         const std::optional<std::string>& address,
                         const std::optional<std::string>& link_id,
                         std::optional<std::int64_t> generation) {
    GOLDLINK_TRY(c.query(
        "UPDATE boots SET firmware = coalesce($2, firmware), address = coalesce($3, address),"
        " link_id = coalesce($4, link_id), generation = coalesce($5, generation) WHERE id = $1",
        {boot_id, firmware, address, link_id, generation}));
    return {};
}

Result<> add_boot_stage(Connection& c, const std::string& boot_id, const std::string& stage,
                        const std::string& at, const std::string& detail) {
    GOLDLINK_TRY(
        c.query("INSERT INTO boot_stages (boot_id, stage, at, detail) VALUES ($1, $2, $3, $4)"
                " ON CONFLICT DO NOTHING",
                {boot_id, stage, at, detail}));
    return {};
}

Result<> reopen_boot(Connection& c, const std::string& boot_id) {
    GOLDLINK_TRY(
        c.query("UPDATE boots b SET state = 'booting', problem = NULL, ended_at = NULL"
                " WHERE id = $1 AND ended_at IS NOT NULL"
                " AND NOT EXISTS (SELECT FROM boot_stages WHERE boot_id = b.id AND stage = 'end')"
                " AND NOT EXISTS (SELECT FROM boots later WHERE later.client_id = b.client_id"
                "  AND later.started_at > b.started_at)",
                {boot_id}));
    return {};
}

Result<> set_boot_running(Connection& c, const std::string& boot_id) {
    // Told late, after the client's next boot began: it did run, and has ended since.
    GOLDLINK_TRY(c.query(
        "UPDATE boots b SET problem = NULL, state = CASE WHEN newer THEN 'ended' ELSE 'running' "
        "END,"
        " ended_at = CASE WHEN newer THEN ended_at END"
        " FROM (SELECT EXISTS (SELECT FROM boots o JOIN boots t ON t.id = $1"
        "  WHERE o.client_id = t.client_id AND o.started_at > t.started_at)) AS other (newer)"
        " WHERE b.id = $1 AND b.state IN ('booting', 'failed')",
        {boot_id}));
    return {};
}

Result<> end_boot(Connection& c, const std::string& boot_id, const std::string& state,
                  const std::string& at, const std::optional<std::string>& problem) {
    GOLDLINK_TRY(
        c.query("UPDATE boots SET state = $2, ended_at = greatest($3::timestamptz, started_at),"
                " problem = coalesce($4, problem) WHERE id = $1 AND ended_at IS NULL",
                {boot_id, state, at, problem}));
    return {};
}

Result<> end_boot_now(Connection& c, const std::string& boot_id, const std::string& problem) {
    GOLDLINK_TRY(
        c.query("UPDATE boots SET state = 'failed', ended_at = now(), problem = $2"
                " WHERE id = $1 AND ended_at IS NULL",
                {boot_id, problem}));
    return {};
}

Result<> end_boots_of_idle_links(Connection& c, const std::vector<std::string>& link_ids) {
    GOLDLINK_TRY(c.query(
        "WITH ended AS (UPDATE boots SET state = 'ended', ended_at = now()"
        " WHERE link_id = ANY ($1::uuid[]) AND state = 'running' AND ended_at IS NULL RETURNING id)"
        " INSERT INTO boot_stages (boot_id, stage, at, detail)"
        " SELECT id, 'end', now(), 'no session any more' FROM ended"
        " ON CONFLICT (boot_id, stage) DO UPDATE SET at = now(), detail = excluded.detail",
        {array_literal(link_ids)}));
    return {};
}

Result<> reopen_boots_of_used_links(Connection& c, const std::vector<std::string>& link_ids) {
    GOLDLINK_TRY(c.query(
        "WITH last AS (SELECT DISTINCT ON (link_id) id, state FROM boots"
        "  WHERE link_id = ANY ($1::uuid[]) ORDER BY link_id, started_at DESC),"
        " gone AS (DELETE FROM boot_stages s USING last WHERE s.boot_id = last.id"
        "  AND last.state = 'ended' AND s.stage = 'end' AND s.detail = 'no session any more'"
        "  RETURNING s.boot_id)"
        " UPDATE boots SET state = 'running', ended_at = NULL WHERE id IN (SELECT boot_id FROM "
        "gone)",
        {array_literal(link_ids)}));
    return {};
}

Result<std::vector<StuckBoot>> stuck_boots(Connection& c) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query("SELECT b.id, c.name, coalesce(s.stage, '') FROM boots b JOIN clients c ON c.id = "
                "b.client_id"
                " LEFT JOIN LATERAL (SELECT stage, at FROM boot_stages WHERE boot_id = b.id ORDER "
                "BY at DESC LIMIT 1)"
                " s ON true WHERE b.ended_at IS NULL AND b.state = 'booting'"
                " AND coalesce(s.at, b.started_at) < now() - interval '10 minutes'"));
    return rows.map([](const Row& row) {
        return StuckBoot{row.text(0), row.text(1), row.text(2)};
    });
}

}  // namespace goldlink::manager::db
