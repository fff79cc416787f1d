#include "manager/db/tokens.hpp"

namespace goldlink::manager::db {
namespace {

Token read_token(const Row& row) {
    return {row.text(0), row.text(1),          row.text(2),
            row.text(3), row.optional_text(4), row.optional_text(5)};
}
#define TOKEN_COLUMNS "id, name, role, iso(created_at), iso(expires_at), iso(last_used_at)"

}  // namespace

Result<std::optional<Token>> use_token(Connection& c, const std::string& sha256) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query("SELECT " TOKEN_COLUMNS
                ", last_used_at IS NULL OR last_used_at < now() - interval '1 minute'"
                " FROM tokens WHERE sha256 = $1"
                " AND (expires_at IS NULL OR expires_at > now())",
                {sha256}));
    if (!rows.empty() && rows[0].boolean(6))
        GOLDLINK_TRY(
            c.query("UPDATE tokens SET last_used_at = now() WHERE id = $1", {rows[0].text(0)}));
    return rows.first(read_token);
}

Result<Token> insert_token(Connection& c, const std::string& name, const std::string& role,
                           const std::string& sha256,
                           std::optional<std::int64_t> expires_in_seconds) {
    GOLDLINK_TRY_ASSIGN(const Rows rows,
                        c.query("INSERT INTO tokens (name, role, sha256, expires_at)"
                                " VALUES ($1, $2, $3, now() + $4::bigint * interval '1 second')"
                                " RETURNING " TOKEN_COLUMNS,
                                {name, role, sha256, expires_in_seconds}));
    return read_token(rows[0]);
}

Result<std::vector<Token>> list_tokens(Connection& c, const std::string& after_id, int limit) {
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query("SELECT " TOKEN_COLUMNS " FROM tokens WHERE $1 = '' OR id > nullif($1, '')::uuid"
                " ORDER BY id LIMIT $2",
                {after_id, limit}));
    return rows.map(read_token);
}

Result<bool> delete_token(Connection& c, const std::string& id) {
    GOLDLINK_TRY_ASSIGN(const Rows rows, c.query("DELETE FROM tokens WHERE id = $1", {id}));
    return rows.affected() > 0;
}

Result<std::int64_t> count_other_admins(Connection& c, const std::string& id) {
    GOLDLINK_TRY_ASSIGN(const Rows rows,
                        c.query("SELECT count(*) FROM tokens WHERE role = 'admin' AND id <> $1"
                                " AND (expires_at IS NULL OR expires_at > now())",
                                {id}));
    return rows[0].integer(0);
}

Result<std::optional<KeptAnswer>> claim_key(Connection& c, const std::string& token_id,
                                            const std::string& key,
                                            const std::string& fingerprint) {
    GOLDLINK_TRY_ASSIGN(
        const Rows claimed,
        c.query("INSERT INTO idempotency_keys AS k (token_id, key, fingerprint) VALUES ($1, $2, $3)"
                " ON CONFLICT (token_id, key) DO UPDATE SET fingerprint = $3, created_at = now()"
                " WHERE k.status IS NULL AND k.created_at < now() - interval '10 minutes'",
                {token_id, key, fingerprint}));
    if (claimed.affected() > 0) return std::nullopt;
    GOLDLINK_TRY_ASSIGN(
        const Rows rows,
        c.query("SELECT fingerprint, status, coalesce(body, '') FROM idempotency_keys"
                " WHERE token_id = $1 AND key = $2",
                {token_id, key}));
    return rows.first([](const Row& row) {
        return KeptAnswer{row.text(0), row.optional_integer(1), row.text(2)};
    });
}

Result<> keep_answer(Connection& c, const std::string& token_id, const std::string& key, int status,
                     const std::string& body) {
    GOLDLINK_TRY(c.query(
        "UPDATE idempotency_keys SET status = $3, body = $4 WHERE token_id = $1 AND key = $2",
        {token_id, key, status, body}));
    return {};
}

Result<> release_key(Connection& c, const std::string& token_id, const std::string& key) {
    GOLDLINK_TRY(
        c.query("DELETE FROM idempotency_keys WHERE token_id = $1 AND key = $2", {token_id, key}));
    return {};
}

Result<> forget_old_keys(Connection& c) {
    GOLDLINK_TRY(
        c.query("DELETE FROM idempotency_keys WHERE created_at < now() - interval '1 day'"));
    return {};
}

}  // namespace goldlink::manager::db
