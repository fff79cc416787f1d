#include "manager/db/clients.hpp"

#include <algorithm>

namespace goldlink::manager::db {
namespace {

std::vector<std::string> split(const std::string& text) {
    std::vector<std::string> parts;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find(',', at), text.size());
        parts.push_back(text.substr(at, end - at));
        at = end + 1;
    }
    return parts;
}

Client read_client(const Row& row) {
    Client client;
    client.id = row.text(0);
    client.name = row.text(1);
    client.state = row.text(2);
    client.note = row.text(3);
    client.created_at = row.text(4);
    client.macs = split(row.text(5));
    client.group = row.optional_text(6);
    client.link_id = row.optional_text(7);
    client.image = row.optional_text(8);
    client.policy = row.optional_text(9);
    client.revision = row.integer(10);
    return client;
}
#define SELECT_CLIENT                                                                             \
    "SELECT c.id, c.name, c.state, c.note, iso(c.created_at),"                                    \
    " (SELECT string_agg(m.mac::text, ',' ORDER BY m.position) FROM client_macs m WHERE "         \
    "m.client_id = c.id),"                                                                        \
    " g.name, l.id, i.name || coalesce(':' || d.channel, '@' || v.number), d.policy, c.revision"  \
    " FROM clients c LEFT JOIN groups g ON g.id = c.group_id LEFT JOIN links l ON l.client_id = " \
    "c.id"                                                                                        \
    " LEFT JOIN link_disks d ON d.link_id = l.id AND d.lun = 0 LEFT JOIN images i ON i.id = "     \
    "d.image_id"                                                                                  \
    " LEFT JOIN versions v ON v.id = d.version_id "

Group read_group(const Row& row) {
    Group group;
    group.id = row.integer(0);
    group.name = row.text(1);
    group.image = row.optional_text(2);
    group.policy = row.text(3);
    group.naming_pattern = row.text(4);
    group.client_count = row.integer(5);
    group.revision = row.integer(6);
    return group;
}
#define SELECT_GROUP                                                                          \
    "SELECT g.id, g.name, i.name || coalesce(':' || g.channel, '@' || g.version_number), "    \
    "g.policy,"                                                                               \
    " g.naming_pattern, (SELECT count(*) FROM clients c WHERE c.group_id = g.id), g.revision" \
    " FROM groups g LEFT JOIN images i ON i.id = g.image_id "

// One row a stage, those of a boot together; a boot without stages has one row without.
#define BOOT_COLUMNS                                                                               \
    "b.id, c.name, iso(b.started_at), b.state, iso(b.ended_at), b.firmware, b.address, b.problem," \
    " s.stage, iso(s.at), round(extract(epoch FROM s.at - min(s.at) OVER (PARTITION BY b.id)) * "  \
    "1000),"                                                                                       \
    " coalesce(s.detail, '')"

std::vector<Boot> read_boots(const Rows& rows) {
    std::vector<Boot> boots;
    for (int i = 0; i < rows.size(); ++i) {
        const Row row = rows[i];
        if (boots.empty() || boots.back().id != row.text(0)) {
            Boot boot;
            boot.id = row.text(0);
            boot.client = row.text(1);
            boot.started_at = row.text(2);
            boot.state = row.text(3);
            boot.ended_at = row.optional_text(4);
            boot.firmware = row.optional_text(5);
            boot.address = row.optional_text(6);
            boot.problem = row.optional_text(7);
            boots.push_back(std::move(boot));
        }
        if (!row.is_null(8))
            boots.back().stages.push_back(
                {row.text(8), row.text(9), row.integer(10), row.text(11)});
    }
    return boots;
}

std::optional<std::int64_t> image_of(const std::optional<GroupImage>& image) {
    return image ? std::optional(image->image_id) : std::nullopt;
}
std::optional<std::string> channel_of(const std::optional<GroupImage>& image) {
    return image ? image->channel : std::nullopt;
}
std::optional<std::int64_t> version_of(const std::optional<GroupImage>& image) {
    return image ? image->version : std::nullopt;
}

std::string first_text(const Row& row) { return row.text(0); }

}  // namespace

Result<std::vector<Client>> list_clients(Connection& c, const ClientFilter& filter,
                                         const std::string& after_name, int limit) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query(SELECT_CLIENT "WHERE lower(c.name) > lower($1)"
                              " AND ($2::text IS NULL OR lower(g.name) = lower($2))"
                              " AND ($3::text IS NULL OR c.state = $3)"
                              " AND ($4::macaddr IS NULL OR EXISTS (SELECT FROM client_macs m"
                              "  WHERE m.client_id = c.id AND m.mac = $4))"
                              " ORDER BY lower(c.name) LIMIT $5",
                {after_name, filter.group, filter.state, filter.mac, limit}));
    return rows.map(read_client);
}

Result<std::optional<Client>> find_client(Connection& c, const std::string& name) {
    GOLDLINK_TRY_ASSIGN(const Rows rows,
                        c.query(SELECT_CLIENT "WHERE lower(c.name) = lower($1)", {name}));
    return rows.first(read_client);
}

Result<std::optional<Client>> find_client_by_id(Connection& c, const std::string& id) {
    GOLDLINK_TRY_ASSIGN(const Rows rows, c.query(SELECT_CLIENT "WHERE c.id = $1", {id}));
    return rows.first(read_client);
}

Result<std::optional<Client>> lock_client(Connection& c, const std::string& name) {
    GOLDLINK_TRY(c.query("SELECT FROM clients WHERE lower(name) = lower($1) FOR UPDATE", {name}));
    return find_client(c, name);
}

Result<std::optional<std::string>> insert_client(Connection& c, const std::string& name,
                                                 std::optional<std::int64_t> group_id,
                                                 const std::string& state,
                                                 const std::string& note) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query("INSERT INTO clients (name, group_id, state, note) VALUES ($1, $2, $3, $4)"
                " ON CONFLICT (lower(name)) DO NOTHING RETURNING id",
                {name, group_id, state, note}));
    return rows.first(first_text);
}

Result<> update_client(Connection& c, const std::string& id, const std::string& name,
                       std::optional<std::int64_t> group_id, const std::string& state,
                       const std::string& note) {
    GOLDLINK_TRY(
        c.query("UPDATE clients SET name = $2, group_id = $3, state = $4, note = $5,"
                " revision = next_revision() WHERE id = $1",
                {id, name, group_id, state, note}));
    return {};
}

Result<> delete_client(Connection& c, const std::string& id) {
    GOLDLINK_TRY(c.query("DELETE FROM clients WHERE id = $1", {id}));
    return {};
}

Result<> set_macs(Connection& c, const std::string& client_id,
                  const std::vector<std::string>& macs) {
    GOLDLINK_TRY(c.query("DELETE FROM client_macs WHERE client_id = $1", {client_id}));
    GOLDLINK_TRY(c.query(
        "INSERT INTO client_macs (mac, client_id, position)"
        " SELECT mac, $1, position FROM unnest($2::macaddr[]) WITH ORDINALITY AS m (mac, position)",
        {client_id, array_literal(macs)}));
    return {};
}

Result<std::vector<MacOwner>> owners_of_macs(Connection& c, const std::vector<std::string>& macs) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query("SELECT m.mac, c.id, c.name FROM client_macs m JOIN clients c ON c.id = m.client_id"
                " WHERE m.mac = ANY ($1::macaddr[]) ORDER BY m.mac",
                {array_literal(macs)}));
    return rows.map([](const Row& row) { return MacOwner{row.text(0), row.text(1), row.text(2)}; });
}

Result<std::vector<std::string>> client_names(Connection& c) {
    GOLDLINK_TRY_ASSIGN(const Rows rows, c.query("SELECT name FROM clients"));
    return rows.map(first_text);
}

Result<std::int64_t> count_clients(Connection& c) {
    GOLDLINK_TRY_ASSIGN(const Rows rows, c.query("SELECT count(*) FROM clients"));
    return rows[0].integer(0);
}

Result<std::vector<Group>> list_groups(Connection& c, const std::string& after_name, int limit) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query(SELECT_GROUP "WHERE lower(g.name) > lower($1) ORDER BY lower(g.name) LIMIT $2",
                {after_name, limit}));
    return rows.map(read_group);
}

Result<std::optional<Group>> find_group(Connection& c, const std::string& name) {
    GOLDLINK_TRY_ASSIGN(const Rows rows,
                        c.query(SELECT_GROUP "WHERE lower(g.name) = lower($1)", {name}));
    return rows.first(read_group);
}

Result<std::optional<std::int64_t>> insert_group(Connection& c, const std::string& name,
                                                 const std::optional<GroupImage>& image,
                                                 const std::string& policy,
                                                 const std::string& pattern) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query(
            "INSERT INTO groups (name, image_id, channel, version_number, policy, naming_pattern)"
            " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (lower(name)) DO NOTHING RETURNING id",
            {name, image_of(image), channel_of(image), version_of(image), policy, pattern}));
    return rows.first([](const Row& row) { return row.integer(0); });
}

Result<> update_group(Connection& c, std::int64_t id, const std::optional<GroupImage>& image,
                      const std::string& policy, const std::string& pattern) {
    GOLDLINK_TRY(
        c.query("UPDATE groups SET image_id = $2, channel = $3, version_number = $4, policy = $5,"
                " naming_pattern = $6, revision = next_revision() WHERE id = $1",
                {id, image_of(image), channel_of(image), version_of(image), policy, pattern}));
    return {};
}

Result<> delete_group(Connection& c, std::int64_t id) {
    GOLDLINK_TRY(c.query("DELETE FROM groups WHERE id = $1", {id}));
    return {};
}

Result<std::vector<std::string>> clients_of_group(Connection& c, std::int64_t id) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query("SELECT name FROM clients WHERE group_id = $1 ORDER BY lower(name) LIMIT 20",
                {id}));
    return rows.map(first_text);
}

Result<std::vector<Boot>> boots_of(Connection& c, const std::string& client_id,
                                   const std::string& before, int limit) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query("SELECT " BOOT_COLUMNS
                " FROM (SELECT * FROM boots WHERE client_id = $1 AND ($2 = ''"
                " OR (started_at, id) < (SELECT started_at, id FROM boots WHERE id = nullif($2, "
                "'')::uuid))"
                " ORDER BY started_at DESC, id DESC LIMIT $3) b"
                " JOIN clients c ON c.id = b.client_id LEFT JOIN boot_stages s ON s.boot_id = b.id"
                " ORDER BY b.started_at DESC, b.id DESC, s.at, s.stage",
                {client_id, before, limit}));
    return read_boots(rows);
}

Result<std::vector<Boot>> last_boots(Connection& c, const std::vector<std::string>& client_ids) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query("SELECT " BOOT_COLUMNS
                " FROM unnest($1::uuid[]) AS wanted (id) JOIN clients c ON c.id = wanted.id"
                " JOIN LATERAL (SELECT * FROM boots WHERE client_id = c.id ORDER BY started_at "
                "DESC, id DESC LIMIT 1) b"
                " ON true LEFT JOIN boot_stages s ON s.boot_id = b.id ORDER BY b.id, s.at, s.stage",
                {array_literal(client_ids)}));
    return read_boots(rows);
}

}  // namespace goldlink::manager::db
