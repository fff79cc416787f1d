#include "manager/db/images.hpp"

namespace goldlink::manager::db {
namespace {

Image read_image(const Row& row) {
    return {row.integer(0), row.text(1), row.text(2), row.text(3), row.text(4)};
}
#define IMAGE_COLUMNS "id, name, note, iso(created_at), kind"

Version read_version(const Row& row) {
    Version version;
    version.id = row.integer(0);
    version.image_id = row.integer(1);
    version.number = row.integer(2);
    version.image = row.text(3);
    version.state = row.text(4);
    version.note = row.text(5);
    version.created_at = row.text(6);
    version.digest = row.optional_text(7);
    version.error = row.optional_text(8);
    version.size_bytes = row.integer(9);
    version.stored_bytes = row.integer(10);
    version.parent = row.optional_text(11);
    version.made_by = row.text(12);
    return version;
}
#define SELECT_VERSION                                                                          \
    "SELECT v.id, v.image_id, v.number, i.name, v.state, v.note, iso(v.created_at), v.digest, " \
    "v.error,"                                                                                  \
    " v.size_bytes, v.stored_bytes, (SELECT pi.name || '@' || p.number FROM versions p"         \
    " JOIN images pi ON pi.id = p.image_id WHERE p.id = v.parent_version_id), v.made_by"        \
    " FROM versions v JOIN images i ON i.id = v.image_id "

ImageTarget read_target(const Row& row) {
    return {row.integer(0), row.text(1),    row.optional_text(2), row.integer(3),
            row.integer(4), row.integer(5), row.text(6)};
}

std::string first_text(const Row& row) { return row.text(0); }

// Who uses a disk row d, as people name it.
#define LINK_NAME "coalesce('link of ' || c.name, 'lease ' || l.id)"

}  // namespace

Result<std::vector<Image>> list_images(Connection& c, const std::string& after_name, int limit) {
    GOLDLINK_TRY_ASSIGN(const Rows rows,
                        c.query("SELECT " IMAGE_COLUMNS " FROM images WHERE lower(name) > lower($1)"
                                " ORDER BY lower(name) LIMIT $2",
                                {after_name, limit}));
    return rows.map(read_image);
}

Result<std::optional<Image>> find_image(Connection& c, const std::string& name) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query("SELECT " IMAGE_COLUMNS " FROM images WHERE lower(name) = lower($1)", {name}));
    return rows.first(read_image);
}

Result<std::int64_t> count_images(Connection& c) {
    GOLDLINK_TRY_ASSIGN(const Rows rows, c.query("SELECT count(*) FROM images"));
    return rows[0].integer(0);
}

Result<std::optional<Image>> insert_image(Connection& c, const std::string& name,
                                          const std::string& note) {
    GOLDLINK_TRY_ASSIGN(const Rows rows,
                        c.query("INSERT INTO images (name, note) VALUES ($1, $2)"
                                " ON CONFLICT (lower(name)) DO NOTHING RETURNING " IMAGE_COLUMNS,
                                {name, note}));
    return rows.first(read_image);
}

Result<bool> take_kind(Connection& c, std::int64_t image_id, const std::string& kind) {
    // One after the other: the next statement sees the version of who had the row before.
    GOLDLINK_TRY(lock_image(c, image_id));
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query("UPDATE images SET kind = $2 WHERE id = $1 AND (kind = $2 OR NOT EXISTS"
                " (SELECT FROM versions WHERE image_id = $1 AND state <> 'failed'))",
                {image_id, kind}));
    return rows.affected() > 0;
}

Result<> lock_image(Connection& c, std::int64_t image_id) {
    GOLDLINK_TRY(c.query("SELECT FROM images WHERE id = $1 FOR UPDATE", {image_id}));
    return {};
}

Result<> delete_image(Connection& c, std::int64_t image_id) {
    GOLDLINK_TRY(c.query("DELETE FROM images WHERE id = $1", {image_id}));
    return {};
}

Result<std::vector<Version>> versions_of(Connection& c,
                                         const std::vector<std::int64_t>& image_ids) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query(SELECT_VERSION "WHERE v.image_id = ANY ($1::bigint[]) ORDER BY v.number DESC",
                {array_literal(image_ids)}));
    return rows.map(read_version);
}

Result<std::vector<Channel>> channels_of(Connection& c,
                                         const std::vector<std::int64_t>& image_ids) {
    GOLDLINK_TRY_ASSIGN(const Rows rows,
                        c.query("SELECT ch.image_id, ch.name, v.number, ch.pinned FROM channels ch"
                                " JOIN versions v ON v.id = ch.version_id"
                                " WHERE ch.image_id = ANY ($1::bigint[]) ORDER BY ch.name",
                                {array_literal(image_ids)}));
    return rows.map([](const Row& row) {
        return Channel{row.integer(0), row.text(1), row.integer(2), row.boolean(3)};
    });
}

Result<std::optional<Version>> find_version(Connection& c, std::int64_t image_id,
                                            std::int64_t number) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query(SELECT_VERSION "WHERE v.image_id = $1 AND v.number = $2", {image_id, number}));
    return rows.first(read_version);
}

Result<std::optional<Version>> find_version_by_id(Connection& c, std::int64_t version_id) {
    GOLDLINK_TRY_ASSIGN(const Rows rows, c.query(SELECT_VERSION "WHERE v.id = $1", {version_id}));
    return rows.first(read_version);
}

Result<std::vector<Version>> versions_of_digest(Connection& c, const std::string& digest) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query(SELECT_VERSION
                "WHERE v.digest = $1 AND v.state = 'ready' ORDER BY lower(i.name), v.number",
                {digest}));
    return rows.map(read_version);
}

Result<std::vector<std::string>> links_of_digest(Connection& c, const std::string& digest) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query("SELECT DISTINCT " LINK_NAME " AS name FROM link_disks d"
                " JOIN links l ON l.id = d.link_id JOIN versions v ON v.id = d.version_id"
                " LEFT JOIN clients c ON c.id = l.client_id WHERE v.digest = $1"
                " ORDER BY name LIMIT 100",
                {digest}));
    return rows.map(first_text);
}

Result<Version> insert_version(Connection& c, std::int64_t image_id, const std::string& note) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query("WITH taken AS (UPDATE images SET next_version = next_version + 1 WHERE id = $1"
                " RETURNING id, name, next_version - 1 AS number)"
                " INSERT INTO versions (image_id, number, note) SELECT id, number, $2 FROM taken"
                " RETURNING id, image_id, number, (SELECT name FROM taken), state, note,"
                " iso(created_at), digest, error, size_bytes, stored_bytes, NULL, made_by",
                {image_id, note}));
    if (rows.empty()) return failure(ErrorKind::conflict, "the image was deleted meanwhile");
    return read_version(rows[0]);
}

Result<> set_origin(Connection& c, std::int64_t version_id, const std::string& link_id,
                    std::int64_t lun, const std::string& made_by, bool saved) {
    GOLDLINK_TRY(c.query(
        "UPDATE versions SET made_by = $4, saved_from = CASE WHEN $5 THEN $2::uuid END,"
        " parent_version_id = (SELECT version_id FROM link_disks WHERE link_id = $2 AND lun = $3)"
        " WHERE id = $1",
        {version_id, link_id, lun, made_by, saved}));
    return {};
}

Result<> set_parent(Connection& c, std::int64_t version_id, std::int64_t parent_version_id) {
    GOLDLINK_TRY(c.query("UPDATE versions SET parent_version_id = $2 WHERE id = $1",
                         {version_id, parent_version_id}));
    return {};
}

Result<> set_parent_digest(Connection& c, std::int64_t version_id, const std::string& digest) {
    GOLDLINK_TRY(
        c.query("UPDATE versions v SET parent_version_id = (SELECT p.id FROM versions p"
                " WHERE p.digest = $2 AND p.state = 'ready' AND p.id <> v.id"
                " ORDER BY p.id = v.parent_version_id DESC NULLS LAST,"
                " p.image_id = v.image_id DESC, p.id DESC LIMIT 1)"
                " WHERE v.id = $1",
                {version_id, digest}));
    return {};
}

Result<std::vector<Version>> descendants_of(Connection& c, std::int64_t version_id,
                                            const std::string& link_id) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query(
            "WITH RECURSIVE made AS (SELECT id, image_id FROM versions WHERE id = $1"
            " UNION SELECT n.id, n.image_id FROM versions n JOIN made"
            " ON n.parent_version_id = made.id AND n.image_id = made.image_id"
            " WHERE n.state <> 'failed' AND n.saved_from IS DISTINCT FROM $2::uuid) " SELECT_VERSION
            "JOIN made ON made.id = v.id WHERE v.id <> $1 ORDER BY v.number DESC LIMIT 20",
            {version_id, link_id}));
    return rows.map(read_version);
}

Result<> forget_saved_from(Connection& c, const std::string& link_id) {
    GOLDLINK_TRY(c.query("UPDATE versions SET saved_from = NULL WHERE saved_from = $1", {link_id}));
    return {};
}

Result<> set_version_ready(Connection& c, std::int64_t version_id, const std::string& digest,
                           std::int64_t size_bytes, std::int64_t stored_bytes) {
    GOLDLINK_TRY(c.query(
        "UPDATE versions SET state = 'ready', digest = $2, size_bytes = $3, stored_bytes = $4,"
        " error = NULL WHERE id = $1",
        {version_id, digest, size_bytes, stored_bytes}));
    // The same content may have been deleted a moment ago: it is wanted again.
    return forget_version_deletion(c, digest);
}

Result<> set_version_failed(Connection& c, std::int64_t version_id, const std::string& error) {
    GOLDLINK_TRY(
        c.query("UPDATE versions SET state = 'failed', error = $2 WHERE id = $1 "
                "AND state = 'importing'",
                {version_id, error}));
    return {};
}

Result<> delete_version(Connection& c, std::int64_t version_id) {
    GOLDLINK_TRY(c.query("DELETE FROM versions WHERE id = $1", {version_id}));
    return {};
}

Result<> set_channel(Connection& c, std::int64_t image_id, const std::string& channel,
                     std::int64_t version_id) {
    GOLDLINK_TRY(
        c.query("INSERT INTO channels (image_id, name, version_id) VALUES ($1, $2, $3)"
                " ON CONFLICT (image_id, name) DO UPDATE SET version_id = $3, moved_at = now()",
                {image_id, channel, version_id}));
    GOLDLINK_TRY(
        c.query("UPDATE link_disks SET version_id = $3 WHERE image_id = $1 AND channel = $2"
                " AND policy = 'discard' AND version_id <> $3",
                {image_id, channel, version_id}));
    return {};
}

Result<bool> set_pinned(Connection& c, std::int64_t image_id, const std::string& channel,
                        bool pinned) {
    GOLDLINK_TRY_ASSIGN(const Rows rows,
                        c.query("UPDATE channels SET pinned = $3 WHERE image_id = $1 AND name = $2",
                                {image_id, channel, pinned}));
    return rows.affected() > 0;
}

Result<std::vector<std::string>> pinned_digests(Connection& c) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query("SELECT v.digest FROM channels ch JOIN versions v ON v.id = ch.version_id"
                " WHERE ch.pinned AND v.digest IS NOT NULL"
                " GROUP BY v.digest ORDER BY min(v.id) LIMIT 1000"));
    return rows.map(first_text);
}

Result<bool> delete_channel(Connection& c, std::int64_t image_id, const std::string& channel) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query("DELETE FROM channels WHERE image_id = $1 AND name = $2", {image_id, channel}));
    return rows.affected() > 0;
}

Result<std::optional<ImageTarget>> resolve_channel(Connection& c, const std::string& image,
                                                   const std::string& channel) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query("SELECT i.id, i.name, ch.name, v.id, v.number, v.size_bytes, i.kind FROM images i"
                " JOIN channels ch ON ch.image_id = i.id AND ch.name = $2"
                " JOIN versions v ON v.id = ch.version_id WHERE lower(i.name) = lower($1)",
                {image, channel}));
    return rows.first(read_target);
}

Result<std::optional<ImageTarget>> resolve_version(Connection& c, const std::string& image,
                                                   std::int64_t number) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query("SELECT i.id, i.name, NULL, v.id, v.number, v.size_bytes, i.kind FROM images i"
                " JOIN versions v ON v.image_id = i.id AND v.number = $2 AND v.state = 'ready'"
                " WHERE lower(i.name) = lower($1)",
                {image, number}));
    return rows.first(read_target);
}

Result<std::vector<std::string>> users_of_image(Connection& c, std::int64_t image_id) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query("(SELECT " LINK_NAME " AS name FROM link_disks d JOIN links l ON l.id = d.link_id"
                " LEFT JOIN clients c ON c.id = l.client_id WHERE d.image_id = $1"
                " UNION SELECT 'group ' || name FROM groups WHERE image_id = $1"
                " UNION SELECT 'task ' || t.id FROM tasks t JOIN versions v ON v.id = t.version_id"
                "  WHERE v.image_id = $1 AND t.phase <> 'end')"
                " ORDER BY name LIMIT 20",
                {image_id}));
    return rows.map(first_text);
}

Result<std::vector<std::string>> users_of_version(Connection& c, std::int64_t version_id) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query("(SELECT " LINK_NAME " AS name FROM link_disks d JOIN links l ON l.id = d.link_id"
                " LEFT JOIN clients c ON c.id = l.client_id WHERE d.version_id = $1"
                " UNION SELECT 'channel ' || name FROM channels WHERE version_id = $1"
                " UNION SELECT 'group ' || g.name FROM groups g JOIN versions v"
                "  ON v.image_id = g.image_id AND v.number = g.version_number WHERE v.id = $1"
                " UNION SELECT 'task ' || id FROM tasks WHERE version_id = $1 AND phase <> 'end')"
                " ORDER BY name LIMIT 20",
                {version_id}));
    return rows.map(first_text);
}

Result<std::vector<std::string>> followers_of_channel(Connection& c, std::int64_t image_id,
                                                      const std::string& channel) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query(
            "(SELECT " LINK_NAME " AS name FROM link_disks d JOIN links l ON l.id = d.link_id"
            " LEFT JOIN clients c ON c.id = l.client_id WHERE d.image_id = $1 AND d.channel = $2"
            " UNION SELECT 'group ' || name FROM groups WHERE image_id = $1 AND channel = $2)"
            " ORDER BY name LIMIT 20",
            {image_id, channel}));
    return rows.map(first_text);
}

Result<> queue_version_deletion(Connection& c, const std::string& digest) {
    GOLDLINK_TRY(
        c.query("INSERT INTO version_deletions (digest) SELECT $1"
                " WHERE NOT EXISTS (SELECT FROM versions WHERE digest = $1)"
                " ON CONFLICT (digest) DO NOTHING",
                {digest}));
    return {};
}

Result<std::vector<std::string>> version_deletions(Connection& c) {
    GOLDLINK_TRY(
        c.query("DELETE FROM version_deletions d"
                " WHERE EXISTS (SELECT FROM versions WHERE digest = d.digest)"));
    GOLDLINK_TRY_ASSIGN(const Rows rows,
                        c.query("SELECT digest FROM version_deletions ORDER BY since LIMIT 100"));
    return rows.map(first_text);
}

Result<> forget_version_deletion(Connection& c, const std::string& digest) {
    GOLDLINK_TRY(c.query("DELETE FROM version_deletions WHERE digest = $1", {digest}));
    return {};
}

Result<std::optional<ImageTarget>> find_target_by_digest(Connection& c, const std::string& digest) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query("SELECT i.id, i.name, v.id, v.number, v.size_bytes, i.kind FROM versions v"
                " JOIN images i ON i.id = v.image_id WHERE v.digest = $1 AND v.state = 'ready'"
                " ORDER BY v.id DESC LIMIT 1",
                {digest}));
    if (rows.empty()) return std::nullopt;
    const Row row = rows[0];
    return ImageTarget{row.integer(0), row.text(1),    std::nullopt, row.integer(2),
                       row.integer(3), row.integer(4), row.text(5)};
}

}  // namespace goldlink::manager::db
