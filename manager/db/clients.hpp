// Queries on clients, their MACs, groups and boots. One function a query; run them on a lent
// connection, in a transaction where several belong together.
#pragma once

#include "manager/db/connection.hpp"
#include "manager/db/rows.hpp"

namespace goldlink::manager::db {

struct ClientFilter {
    std::optional<std::string> group, state, mac;
};

Result<std::vector<Client>> list_clients(Connection& c, const ClientFilter& filter,
                                         const std::string& after_name, int limit);
Result<std::optional<Client>> find_client(Connection& c, const std::string& name);
Result<std::optional<Client>> find_client_by_id(Connection& c, const std::string& id);
// The client, locked until the transaction ends.
Result<std::optional<Client>> lock_client(Connection& c, const std::string& name);
// Its id, or nullopt when the name is taken.
Result<std::optional<std::string>> insert_client(Connection& c, const std::string& name,
                                                 std::optional<std::int64_t> group_id,
                                                 const std::string& state, const std::string& note);
Result<> update_client(Connection& c, const std::string& id, const std::string& name,
                       std::optional<std::int64_t> group_id, const std::string& state,
                       const std::string& note);
Result<> delete_client(Connection& c, const std::string& id);
Result<> set_macs(Connection& c, const std::string& client_id,
                  const std::vector<std::string>& macs);

struct MacOwner {
    std::string mac, client_id, client;
};
Result<std::vector<MacOwner>> owners_of_macs(Connection& c, const std::vector<std::string>& macs);
Result<std::vector<std::string>> client_names(Connection& c);
Result<std::int64_t> count_clients(Connection& c);

Result<std::vector<Group>> list_groups(Connection& c, const std::string& after_name, int limit);
Result<std::optional<Group>> find_group(Connection& c, const std::string& name);
struct GroupImage {
    std::int64_t image_id = 0;
    std::optional<std::string> channel;
    std::optional<std::int64_t> version;
};
// nullopt when the name is taken.
Result<std::optional<std::int64_t>> insert_group(Connection& c, const std::string& name,
                                                 const std::optional<GroupImage>& image,
                                                 const std::string& policy,
                                                 const std::string& pattern);
Result<> update_group(Connection& c, std::int64_t id, const std::optional<GroupImage>& image,
                      const std::string& policy, const std::string& pattern);
Result<> delete_group(Connection& c, std::int64_t id);
Result<std::vector<std::string>> clients_of_group(Connection& c, std::int64_t id);  // at most 20

// Boots with their stages, newest first; `before` is a boot's id.
Result<std::vector<Boot>> boots_of(Connection& c, const std::string& client_id,
                                   const std::string& before, int limit);
Result<std::vector<Boot>> last_boots(Connection& c, const std::vector<std::string>& client_ids);

}  // namespace goldlink::manager::db
