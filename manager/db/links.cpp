#include "manager/db/links.hpp"

#include <algorithm>
#include <map>

namespace goldlink::manager::db {
namespace {

Link read_link(const Row& row) {
    Link link;
    link.id = row.text(0);
    link.client = row.optional_text(1);
    link.lease_expires_at = row.optional_text(2);
    link.image = row.text(3);
    link.version = row.integer(4);
    link.channel = row.optional_text(5);
    link.policy = row.text(6);
    link.iqn = row.text(7);
    link.username = row.text(8);
    link.secret = row.text(9);
    link.state = row.text(10);
    link.problem = row.optional_text(11);
    link.created_by = row.optional_text(12);
    link.lun = row.integer(13);
    link.revision = row.integer(14);
    link.applied_revision = row.integer(15);
    link.created_at = row.text(16);
    link.install = row.boolean(17);
    return link;
}
#define SELECT_LINK                                                                               \
    "SELECT l.id, c.name, iso(l.lease_expires_at), i.name, v.number, d.channel, d.policy, l.iqn," \
    " l.username, l.secret, l.state, l.problem, l.created_by, d.lun, l.revision, "                \
    "l.applied_revision,"                                                                         \
    " iso(l.created_at), l.install FROM links l JOIN link_disks d ON d.link_id = l.id AND d.lun " \
    "= 0"                                                                                         \
    " JOIN images i ON i.id = d.image_id JOIN versions v ON v.id = d.version_id"                  \
    " LEFT JOIN clients c ON c.id = l.client_id "

Result<> add_disks(Connection& c, std::vector<Link>& links) {
    std::vector<std::string> ids;
    std::map<std::string, Link*> by_id;
    for (Link& link : links) {
        ids.push_back(link.id);
        by_id[link.id] = &link;
    }
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query("SELECT d.link_id, d.lun, i.name, v.number, d.channel, d.policy, d.quota_bytes,"
                " i.kind, d.logical_block_bytes, newest.number"
                " FROM link_disks d"
                " JOIN images i ON i.id = d.image_id JOIN versions v ON v.id = d.version_id"
                " LEFT JOIN channels n ON n.image_id = d.image_id AND n.name = d.channel"
                " LEFT JOIN versions newest ON newest.id = n.version_id"
                " WHERE d.link_id = ANY ($1::uuid[]) ORDER BY d.link_id, d.lun",
                {array_literal(ids)}));
    for (int i = 0; i < rows.size(); ++i) {
        const Row row = rows[i];
        by_id.at(row.text(0))
            ->disks.push_back({row.integer(1), row.text(2), row.integer(3), row.optional_text(4),
                               row.text(5), row.optional_integer(6), row.text(7), row.integer(8),
                               row.optional_integer(9)});
    }
    return {};
}

}  // namespace

Result<std::vector<Link>> list_links(Connection& c, const LinkFilter& filter,
                                     const std::string& after_id, int limit) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query(SELECT_LINK "WHERE ($1 = '' OR l.id > nullif($1, '')::uuid)"
                            " AND ($2::text IS NULL OR lower(c.name) = lower($2))"
                            " AND ($3::text IS NULL OR EXISTS (SELECT FROM link_disks o"
                            " JOIN images m ON m.id = o.image_id"
                            " WHERE o.link_id = l.id AND lower(m.name) = lower($3)))"
                            " AND ($4::uuid IS NULL OR l.created_by = $4)"
                            " ORDER BY l.id LIMIT $5",
                {after_id, filter.client, filter.image, filter.created_by, limit}));
    std::vector<Link> links = rows.map(read_link);
    GOLDLINK_TRY(add_disks(c, links));
    return links;
}

Result<std::optional<Link>> find_link(Connection& c, const std::string& id) {
    GOLDLINK_TRY_ASSIGN(const Rows rows, c.query(SELECT_LINK "WHERE l.id = $1", {id}));
    std::vector<Link> links = rows.map(read_link);
    if (links.empty()) return std::nullopt;
    GOLDLINK_TRY(add_disks(c, links));
    return std::move(links.front());
}

Result<std::optional<std::string>> insert_link(Connection& c, const NewLink& link) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query(
            "INSERT INTO links (client_id, lease_expires_at, iqn, username, secret, created_by,"
            " install, id) VALUES ($1, now() + $2::bigint * interval '1 second', $3, $4, $5, $6,"
            " $7, coalesce($8::uuid, gen_random_uuid())) ON CONFLICT DO NOTHING RETURNING id",
            {link.client_id, link.lease_seconds, link.iqn, link.username, link.secret,
             link.created_by, link.install, link.id}));
    if (rows.empty()) return std::nullopt;
    const std::string id = rows[0].text(0);
    for (const NewDisk& disk : link.disks)
        GOLDLINK_TRY(
            c.query("INSERT INTO link_disks (link_id, lun, image_id, channel, version_id,"
                    " policy, quota_bytes, logical_block_bytes)"
                    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                    {id, disk.lun, disk.image.image_id, disk.image.channel, disk.image.version_id,
                     disk.policy, disk.quota_bytes, disk.logical_block_bytes}));
    return id;
}

Result<> set_install(Connection& c, const std::string& id, bool install) {
    GOLDLINK_TRY(
        c.query("UPDATE links SET install = $2, revision = next_revision()"
                " WHERE id = $1 AND install <> $2",
                {id, install}));
    return {};
}

Result<> set_disk_quota(Connection& c, const std::string& id, std::int64_t lun,
                        std::optional<std::int64_t> quota_bytes) {
    GOLDLINK_TRY(
        c.query("WITH changed AS (UPDATE link_disks SET quota_bytes = $3"
                " WHERE link_id = $1 AND lun = $2 AND quota_bytes IS DISTINCT FROM $3"
                " RETURNING link_id)"
                " UPDATE links SET revision = next_revision()"
                " WHERE id IN (SELECT link_id FROM changed)",
                {id, lun, quota_bytes}));
    return {};
}

Result<bool> delete_link(Connection& c, const std::string& id) {
    GOLDLINK_TRY_ASSIGN(const Rows rows, c.query("DELETE FROM links WHERE id = $1", {id}));
    return rows.affected() > 0;
}

Result<std::vector<std::string>> delete_expired_leases(Connection& c) {
    GOLDLINK_TRY_ASSIGN(const Rows rows,
                        c.query("DELETE FROM links WHERE lease_expires_at < now() RETURNING id"));
    return rows.map([](const Row& row) { return row.text(0); });
}

Result<> set_disk_version(Connection& c, const std::string& id, std::int64_t lun,
                          std::int64_t version_id) {
    GOLDLINK_TRY(
        c.query("UPDATE link_disks SET version_id = $3 WHERE link_id = $1 AND lun = $2"
                " AND version_id <> $3",
                {id, lun, version_id}));
    return {};
}

Result<> set_disk_base(Connection& c, const std::string& id, std::int64_t lun,
                       std::int64_t version_id, const std::optional<std::string>& channel) {
    GOLDLINK_TRY(
        c.query("UPDATE link_disks SET version_id = $3, channel = $4"
                " WHERE link_id = $1 AND lun = $2"
                " AND (version_id, channel) IS DISTINCT FROM ($3, $4)",
                {id, lun, version_id, channel}));
    return {};
}

Result<> follow_channel(Connection& c, const std::string& id, std::optional<std::int64_t> lun) {
    GOLDLINK_TRY(
        c.query("UPDATE link_disks d SET version_id = ch.version_id FROM channels ch"
                " WHERE d.link_id = $1 AND ch.image_id = d.image_id AND ch.name = d.channel"
                " AND ch.version_id <> d.version_id AND ($2::integer IS NULL OR d.lun = $2)",
                {id, lun}));
    return {};
}

Result<std::int64_t> count_links(Connection& c) {
    GOLDLINK_TRY_ASSIGN(const Rows rows, c.query("SELECT count(*) FROM links"));
    return rows[0].integer(0);
}

Result<LinkTrouble> link_trouble(Connection& c) {
    GOLDLINK_TRY_ASSIGN(const Rows rows,
                        c.query("SELECT coalesce(k.name, l.iqn), coalesce(l.problem, ''),"
                                " count(*) OVER (), (SELECT count(*) FROM links)"
                                " FROM links l LEFT JOIN clients k ON k.id = l.client_id"
                                " WHERE l.state = 'failed' ORDER BY 1 LIMIT 3"));
    LinkTrouble trouble;
    if (rows.empty()) return trouble;
    trouble.failed = rows[0].integer(2);
    trouble.total = rows[0].integer(3);
    trouble.first = rows.map([](const Row& row) { return std::pair(row.text(0), row.text(1)); });
    return trouble;
}

Result<bool> iqn_taken(Connection& c, const std::string& iqn) {
    GOLDLINK_TRY_ASSIGN(const Rows rows, c.query("SELECT FROM links WHERE iqn = $1", {iqn}));
    return !rows.empty();
}

Result<std::int64_t> registry_revision(Connection& c) {
    GOLDLINK_TRY_ASSIGN(const Rows rows, c.query("SELECT revision FROM registry"));
    return rows[0].integer(0);
}

Result<> raise_revision(Connection& c, std::int64_t held) {
    GOLDLINK_TRY(c.query("UPDATE registry SET revision = greatest(revision, $1) + 1", {held}));
    GOLDLINK_TRY(c.query("UPDATE links SET revision = (SELECT revision FROM registry)"));
    return {};
}

Result<std::vector<DesiredDisk>> desired_disks(Connection& c) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query("SELECT l.id, l.iqn, coalesce(c.name, 'lease'), l.username, l.secret, l.revision,"
                " l.applied_revision, d.lun, v.digest, d.policy, d.quota_bytes, i.kind,"
                " d.logical_block_bytes FROM links l JOIN link_disks d ON d.link_id = l.id"
                " JOIN versions v ON v.id = d.version_id JOIN images i ON i.id = d.image_id"
                " LEFT JOIN clients c ON c.id = l.client_id ORDER BY l.id, d.lun"));
    return rows.map([](const Row& row) {
        DesiredDisk disk;
        disk.link_id = row.text(0);
        disk.iqn = row.text(1);
        disk.alias = row.text(2);
        disk.username = row.text(3);
        disk.secret = row.text(4);
        disk.revision = row.integer(5);
        disk.applied_revision = row.integer(6);
        disk.lun = row.integer(7);
        disk.digest = row.text(8);
        disk.policy = row.text(9);
        disk.quota_bytes = row.optional_integer(10);
        disk.kind = row.text(11);
        disk.logical_block_bytes = row.integer(12);
        return disk;
    });
}

Result<> set_link_state(Connection& c, const std::string& id, std::int64_t revision,
                        const std::string& state, const std::optional<std::string>& problem) {
    GOLDLINK_TRY(
        c.query("UPDATE links SET state = $3, problem = $4,"
                " applied_revision = CASE WHEN $3 = 'ready' THEN $2 ELSE applied_revision END"
                " WHERE id = $1 AND revision = $2"
                " AND (state, problem, applied_revision) IS DISTINCT FROM"
                "  ($3, $4, CASE WHEN $3 = 'ready' THEN $2 ELSE applied_revision END)",
                {id, revision, state, problem}));
    return {};
}

Result<Settings> settings(Connection& c) {
    GOLDLINK_TRY_ASSIGN(const Rows rows,
                        c.query("SELECT unknown_policy, naming_pattern, menu_timeout_seconds,"
                                " http_base FROM settings"));
    return Settings{rows[0].text(0), rows[0].text(1), rows[0].integer(2), rows[0].optional_text(3)};
}

Result<std::vector<BootEntry>> boot_table(Connection& c) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query("SELECT c.id, c.name, m.mac, l.id, CASE WHEN l.install THEN (SELECT min(d.lun)"
                " FROM link_disks d JOIN images i ON i.id = d.image_id"
                " WHERE d.link_id = l.id AND i.kind = 'iso') END FROM clients c"
                " JOIN client_macs m ON m.client_id = c.id LEFT JOIN links l ON l.client_id = c.id"
                " WHERE c.state = 'approved' ORDER BY c.id, m.position"));
    std::vector<BootEntry> entries;
    for (int i = 0; i < rows.size(); ++i) {
        const Row row = rows[i];
        if (entries.empty() || entries.back().client_id != row.text(0))
            entries.push_back(
                {row.text(0), row.text(1), {}, row.optional_text(3), row.optional_integer(4)});
        entries.back().macs.push_back(row.text(2));
    }
    return entries;
}

}  // namespace goldlink::manager::db
