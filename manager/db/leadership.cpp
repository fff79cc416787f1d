#include "manager/db/leadership.hpp"

namespace goldlink::manager::db {
namespace {

#define END_HOLDERS(which)                                                              \
    "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory'" \
    " AND classid = 7105 AND objid IN (" which                                          \
    ") AND objsubid = 2 AND granted"                                                    \
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"  \
    " AND pid <> pg_backend_pid()"

Result<std::int64_t> count_of(Result<Rows> rows) {
    if (!rows) return Failure(std::move(rows).error());
    return (*rows)[0].integer(0);
}

}  // namespace

Result<bool> lock_lead(Connection& c) {
    GOLDLINK_TRY_ASSIGN(const Rows rows, c.query("SELECT pg_try_advisory_lock(7105, 3)"));
    return rows[0].boolean(0);
}

Result<> lock_work(Connection& c) {
    GOLDLINK_TRY(c.query("SELECT pg_advisory_lock(7105, 5)"));
    return {};
}

Result<> wait_for_lead(Connection& c) {
    GOLDLINK_TRY(c.query("SELECT pg_advisory_lock_shared(7105, 6)"));
    return {};
}

Result<LeadView> look_at_lead(Connection& c, std::int64_t term) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query("SELECT term = $1, EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory'"
                " AND classid = 7105 AND objid = 6 AND objsubid = 2 AND granted"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                " AND pid <> pg_backend_pid()) FROM leadership",
                {term}));
    return LeadView{rows[0].boolean(0), rows[0].boolean(1)};
}

Result<LeaderBeat> leader_beat(Connection& c) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query("SELECT term, beat, holder,"
                " greatest(0, extract(epoch FROM clock_timestamp() - renewed_at))::bigint"
                " FROM leadership"));
    const Row row = rows[0];
    return LeaderBeat{row.integer(0), row.integer(1), row.text(2), row.integer(3)};
}

Result<std::int64_t> begin_term(Connection& c, const std::string& holder) {
    return count_of(
        c.query("UPDATE leadership SET term = term + 1, beat = beat + 1, holder = $1,"
                " renewed_at = clock_timestamp() RETURNING term",
                {holder}));
}

Result<bool> beat(Connection& c, std::int64_t term) {
    GOLDLINK_TRY_ASSIGN(const Rows rows, c.query("UPDATE leadership SET beat = beat + 1,"
                                                 " renewed_at = clock_timestamp() WHERE term = $1",
                                                 {term}));
    return rows.affected() == 1;
}

Result<bool> is_term(Connection& c, std::int64_t term) {
    GOLDLINK_TRY_ASSIGN(const Rows rows, c.query("SELECT term = $1 FROM leadership", {term}));
    return rows[0].boolean(0);
}

Result<std::int64_t> end_leader(Connection& c) { return count_of(c.query(END_HOLDERS("3, 5"))); }
Result<std::int64_t> end_workers(Connection& c) { return count_of(c.query(END_HOLDERS("5"))); }

}  // namespace goldlink::manager::db
