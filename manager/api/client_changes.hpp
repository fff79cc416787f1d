// Adding clients and binding them to their group's image: shared by POST /clients, the CSV import,
// approval and POST /links. Run inside a transaction.
#pragma once

#include "manager/api/refusal.hpp"
#include "manager/db/connection.hpp"
#include "manager/db/links.hpp"
#include "manager/db/rows.hpp"

namespace goldlink::manager::api {

struct NewClient {
    std::string name;
    std::vector<std::string> macs;  // normalised
    std::optional<std::string> group;
    std::string note;
};

// Its id. Refuses a taken name, a MAC that another client has (naming it), a group that is not.
Maybe<std::string> add_client(db::Connection& c, const NewClient& client);
// Sets the client's MACs unless another client has one.
Maybe<void> take_macs(db::Connection& c, const std::string& client_id,
                      const std::vector<std::string>& macs);
Maybe<std::optional<db::Group>> wanted_group(db::Connection& c,
                                             const std::optional<std::string>& name);

// A link for the client; its id. Refuses when it has one.
Maybe<std::string> add_client_link(db::Connection& c, const db::Client& client,
                                   std::vector<db::NewDisk> disks,
                                   const std::optional<std::string>& created_by,
                                   bool install = false);
// A client without a link whose group has an image gets one.
Maybe<void> link_by_group(db::Connection& c, const std::string& client_id);

}  // namespace goldlink::manager::api
