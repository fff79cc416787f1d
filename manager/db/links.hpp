// Queries on links: what REST shows, and what the target and pxe have to serve. One function a
// query; run them on a lent connection, in a transaction where several belong together.
#pragma once

#include "manager/db/connection.hpp"
#include "manager/db/rows.hpp"

namespace goldlink::manager::db {

struct LinkFilter {
    std::optional<std::string> client, image, created_by;
};

struct NewDisk {
    std::int64_t lun = 0;
    ImageTarget image;
    std::string policy;
    std::optional<std::int64_t> quota_bytes = {};
    std::int64_t logical_block_bytes = 512;
};

struct NewLink {
    std::optional<std::string> client_id;       // exactly one of client_id
    std::optional<std::int64_t> lease_seconds;  // and lease_seconds
    std::string iqn, username, secret;
    std::vector<NewDisk> disks;  // LUN 0 among them, none twice
    bool install = false;
    std::optional<std::string> created_by;  // a token's id
    std::optional<std::string> id = {};     // nullopt: a new one
};

Result<std::vector<Link>> list_links(Connection& c, const LinkFilter& filter,
                                     const std::string& after_id, int limit);
Result<std::optional<Link>> find_link(Connection& c, const std::string& id);
// Its id; nullopt when the client has a link or the IQN is taken.
Result<std::optional<std::string>> insert_link(Connection& c, const NewLink& link);
// Changes what the client starts at its next boot.
Result<> set_install(Connection& c, const std::string& id, bool install);
// nullopt: as large as the disk.
Result<> set_disk_quota(Connection& c, const std::string& id, std::int64_t lun,
                        std::optional<std::int64_t> quota_bytes);
Result<bool> delete_link(Connection& c, const std::string& id);
// Removes leases that have run out; returns their ids.
Result<std::vector<std::string>> delete_expired_leases(Connection& c);
// The disks' versions become what their channels point at now (a reset kept disk starts from
// there). `lun`: of that disk only.
Result<> follow_channel(Connection& c, const std::string& id, std::optional<std::int64_t> lun);
// The disk runs on this version from now on (a commit made it).
Result<> set_disk_version(Connection& c, const std::string& id, std::int64_t lun,
                          std::int64_t version_id);
// The disk runs on this version from now on and follows this channel, or none (a rebase).
Result<> set_disk_base(Connection& c, const std::string& id, std::int64_t lun,
                       std::int64_t version_id, const std::optional<std::string>& channel);
Result<std::int64_t> count_links(Connection& c);
// The links that are not served, as far as the registry knows.
struct LinkTrouble {
    std::int64_t total = 0;
    std::int64_t failed = 0;
    std::vector<std::pair<std::string, std::string>> first;  // client or IQN, and what is wrong
};
Result<LinkTrouble> link_trouble(Connection& c);
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
