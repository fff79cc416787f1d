#include "manager/db/migrate.hpp"

#include <fmt/format.h>

#include "common/log.hpp"
#include "manager/sha256.hpp"

namespace goldlink::manager::db {
namespace {

struct Applied {
    std::int64_t number;
    std::string name;
    std::string sha256;
};

Result<> refuse_foreign(const std::vector<Applied>& applied,
                        std::span<const Migration> migrations) {
    for (const Applied& row : applied) {
        if (row.number > static_cast<std::int64_t>(migrations.size()))
            return failure(
                ErrorKind::conflict,
                fmt::format("the database has migration {} ({}), newer than this goldlink-manager "
                            "knows (up to {}); start the newer version that made it",
                            row.number, row.name, migrations.size()));
        const Migration& ours = migrations[static_cast<std::size_t>(row.number - 1)];
        if (row.sha256 != sha256_hex(ours.sql))
            return failure(
                ErrorKind::conflict,
                fmt::format(
                    "migration {} was applied to the database with another content than this "
                    "goldlink-manager carries; it was built from a changed file. Start the "
                    "version that matches, or restore a backup",
                    row.name));
    }
    return {};
}

Result<int> apply_missing(Connection& connection, std::span<const Migration> migrations) {
    GOLDLINK_TRY(
        connection.script("CREATE SCHEMA IF NOT EXISTS goldlink;"
                          "CREATE TABLE IF NOT EXISTS goldlink_migrations ("
                          " number integer PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL,"
                          " applied_at timestamptz NOT NULL DEFAULT now())"));
    GOLDLINK_TRY_ASSIGN(const Rows rows,
                        connection.query("SELECT number, name, sha256 FROM goldlink_migrations"
                                         " ORDER BY number"));
    const auto applied = rows.map([](const Row& row) {
        return Applied{row.integer(0), row.text(1), row.text(2)};
    });
    GOLDLINK_TRY(refuse_foreign(applied, migrations));
    int count = 0;
    for (const Migration& migration : migrations.subspan(applied.size())) {
        GOLDLINK_TRY(connection.query("BEGIN"));
        auto done = connection.script(std::string(migration.sql));
        if (done) {
            const auto noted = connection.query(
                "INSERT INTO goldlink_migrations (number, name, sha256) VALUES ($1, $2, $3)",
                {migration.number, migration.name, sha256_hex(migration.sql)});
            if (!noted) done = Failure(noted.error());
        }
        if (!done) {
            if (!connection.broken()) GOLDLINK_TRY(connection.query("ROLLBACK"));
            return Failure(
                std::move(done).error().with_context(fmt::format("migration {}", migration.name)));
        }
        GOLDLINK_TRY(connection.query("COMMIT"));
        log::info("applied migration {}", migration.name);
        ++count;
    }
    return count;
}

}  // namespace

Result<int> migrate(Connection& connection, std::span<const Migration> migrations) {
    GOLDLINK_TRY(connection.query("SELECT pg_advisory_lock(7105, 1)"));
    auto count = apply_missing(connection, migrations);
    if (!connection.broken()) GOLDLINK_TRY(connection.query("SELECT pg_advisory_unlock(7105, 1)"));
    return count;
}

}  // namespace goldlink::manager::db
