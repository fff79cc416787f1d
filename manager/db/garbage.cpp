#include "manager/db/garbage.hpp"

namespace goldlink::manager::db {
namespace {

// A row v of versions.
#define IS_UNUSED                                                         \
    " v.state = 'ready'"                                                  \
    " AND NOT EXISTS (SELECT FROM channels WHERE version_id = v.id)"      \
    " AND NOT EXISTS (SELECT FROM link_disks WHERE version_id = v.id)"    \
    " AND NOT EXISTS (SELECT FROM groups g WHERE g.image_id = v.image_id" \
    "  AND g.version_number = v.number)"                                  \
    " AND NOT EXISTS (SELECT FROM tasks t WHERE t.phase <> 'end'"         \
    "  AND (t.version_id = v.id OR t.digest = v.digest))"

}  // namespace

Result<RegistryNeeds> registry_needs(Connection& c, const std::vector<std::int64_t>& without) {
    // One statement, so that a task that ends meanwhile is seen either running or with its version.
    GOLDLINK_TRY_ASSIGN(const Rows rows,
                        c.query("SELECT 'digest', digest FROM versions"
                                " WHERE digest IS NOT NULL AND id <> ALL ($1::bigint[])"
                                " UNION SELECT 'digest', digest FROM tasks"
                                "  WHERE phase <> 'end' AND digest IS NOT NULL"
                                " UNION SELECT 'task', id::text FROM tasks WHERE phase <> 'end'"
                                " UNION SELECT 'upload', upload FROM tasks"
                                "  WHERE phase <> 'end' AND upload IS NOT NULL",
                                {array_literal(without)}));
    RegistryNeeds needs;
    for (int i = 0; i < rows.size(); ++i) {
        const std::string what = rows[i].text(0);
        auto& names = what == "digest" ? needs.digests
                      : what == "task" ? needs.tasks
                                       : needs.uploads;
        names.insert(rows[i].text(1));
    }
    return needs;
}

Result<std::vector<UnusedVersion>> superseded_versions(Connection& c, std::int64_t keep) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query("SELECT v.id, v.number, i.name, v.digest FROM versions v"
                " JOIN images i ON i.id = v.image_id WHERE" IS_UNUSED
                " AND (SELECT count(*) FROM versions n WHERE n.image_id = v.image_id"
                "  AND n.state = 'ready' AND n.number > v.number) >= $1"
                " ORDER BY lower(i.name), v.number LIMIT 1000",
                {keep}));
    return rows.map([](const Row& row) {
        return UnusedVersion{row.integer(0), row.integer(1), row.text(2), row.text(3)};
    });
}

Result<bool> drop_superseded(Connection& c, std::int64_t version_id) {
    GOLDLINK_TRY(
        c.query("UPDATE versions made SET parent_version_id = v.parent_version_id"
                " FROM versions v WHERE v.id = $1 AND made.parent_version_id = v.id"
                " AND" IS_UNUSED,
                {version_id}));
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query("DELETE FROM versions v WHERE v.id = $1 AND" IS_UNUSED, {version_id}));
    return rows.affected() > 0;
}

}  // namespace goldlink::manager::db
