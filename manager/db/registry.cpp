#include "manager/db/registry.hpp"

namespace goldlink::manager::db {

Result<RegistryIdentity> registry_identity(Connection& c) {
    GOLDLINK_TRY_ASSIGN(const Rows rows,
                        c.query("SELECT id, mark, previous_mark, target_id, match, adopt_requested"
                                " FROM registry_identity"));
    const Row row = rows[0];
    return RegistryIdentity{row.text(0),          row.text(1), row.optional_text(2),
                            row.optional_text(3), row.text(4), row.boolean(5)};
}

Result<> renew_mark(Connection& c, const std::string& mark) {
    GOLDLINK_TRY(
        c.query("UPDATE registry_identity SET previous_mark = mark, mark = gen_random_uuid()"
                " WHERE mark = $1",
                {mark}));
    return {};
}

Result<> set_registry_match(Connection& c, const std::string& match) {
    GOLDLINK_TRY(c.query("UPDATE registry_identity SET match = $1 WHERE match <> $1", {match}));
    return {};
}

Result<> bind_registry(Connection& c, const std::string& target_id) {
    GOLDLINK_TRY(c.query("UPDATE registry_identity SET target_id = $1", {target_id}));
    return {};
}

Result<> request_adoption(Connection& c, bool requested) {
    GOLDLINK_TRY(c.query("UPDATE registry_identity SET adopt_requested = $1", {requested}));
    return {};
}

Result<std::vector<LinkRemoval>> link_removals(Connection& c) {
    GOLDLINK_TRY_ASSIGN(const Rows rows, c.query("SELECT link_id, to_trash FROM link_removals"));
    return rows.map([](const Row& row) { return LinkRemoval{row.text(0), row.boolean(1)}; });
}

Result<> add_link_removal(Connection& c, const std::string& link_id) {
    GOLDLINK_TRY(
        c.query("INSERT INTO link_removals (link_id)"
                " SELECT $1::uuid WHERE NOT EXISTS (SELECT FROM links WHERE id = $1::uuid)"
                " ON CONFLICT (link_id) DO NOTHING",
                {link_id}));
    return {};
}

Result<> forget_link_removal(Connection& c, const std::string& link_id) {
    GOLDLINK_TRY(c.query("DELETE FROM link_removals WHERE link_id = $1", {link_id}));
    return {};
}

}  // namespace goldlink::manager::db
