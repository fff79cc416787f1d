// Queries on links: what REST shows, and what the target and pxe have to serve. One function a
// query; run them on a lent connection, in a transaction where several belong together.
#pragma once

#include "manager/db/connection.hpp"
#include "manager/db/rows.hpp"

namespace goldlink::manager::db {

struct LinkFilter {
    std::optional<std::string> client, image, created_by;
};

struct NewLink {
    std::optional<std::string> client_id;       // exactly one of client_id
    std::optional<std::int64_t> lease_seconds;  // and lease_seconds
    std::string iqn, username, secret, policy;
    ImageTarget image;
    std::optional<std::string> created_by;  // a token's id
};

Result<std::vector<Link>> list_links(Connection& c, const LinkFilter& filter,
                                     const std::string& after_id, int limit);
Result<std::optional<Link>> find_link(Connection& c, const std::string& id);
// Its id; nullopt when the client has a link or the IQN is taken.
Result<std::optional<std::string>> insert_link(Connection& c, const NewLink& link);
Result<bool> delete_link(Connection& c, const std::string& id);
// Removes leases that have run out; returns their ids.
Result<std::vector<std::string>> delete_expired_leases(Connection& c);
// The disk's version becomes what its channel points at now (a reset kept link starts from there).
Result<> follow_channel(Connection& c, const std::string& id);
Result<std::int64_t> count_links(Connection& c);
Result<bool> iqn_taken(Connection& c, const std::string& iqn);

Result<std::int64_t> registry_revision(Connection& c);
// Makes the registry's revision greater than `held`, and every link's, because a daemon remembers a
// later state than this database has (it was restored from a backup).
Result<> raise_revision(Connection& c, std::int64_t held);
Result<std::vector<DesiredDisk>> desired_disks(Connection& c);
// Notes what the target said of the link at this revision; a newer change of the link keeps
// `pending`.
Result<> set_link_state(Connection& c, const std::string& id, std::int64_t revision,
                        const std::string& state, const std::optional<std::string>& problem);

Result<Settings> settings(Connection& c);
Result<std::vector<BootEntry>> boot_table(Connection& c);  // approved clients

}  // namespace goldlink::manager::db
