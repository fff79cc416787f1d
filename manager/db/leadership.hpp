// Queries on which manager leads (migrations/0009): the lock, the term, the heartbeat. One function
// a query.
#pragma once

#include "manager/db/connection.hpp"

namespace goldlink::manager::db {

// The session gets the lead unless another one has it; it has it until it ends.
Result<bool> lock_lead(Connection& c);
// Only the session that has this works on the registry as its leader: another's waits for it.
Result<> lock_work(Connection& c);

// The session counts as one that waits for the lead, until it ends.
Result<> wait_for_lead(Connection& c);
struct LeadView {
    bool is_mine = false;      // the term is the leader's
    bool has_waiting = false;  // another session waits for the lead
};
Result<LeadView> look_at_lead(Connection& c, std::int64_t term);

struct LeaderBeat {
    std::int64_t term = 0, beat = 0;
    std::string holder;
    std::int64_t age_seconds = 0;  // by the server's clock
    bool is_same_beat(const LeaderBeat& other) const {
        return term == other.term && beat == other.beat;
    }
};
Result<LeaderBeat> leader_beat(Connection& c);

// Begins the next term, of whoever has the lead; returns it.
Result<std::int64_t> begin_term(Connection& c, const std::string& holder);
// False: the term is over.
Result<bool> beat(Connection& c, std::int64_t term);
Result<bool> is_term(Connection& c, std::int64_t term);

// Ends other managers' sessions that have the lead or the work, with what they had under way;
// returns how many there were.
Result<std::int64_t> end_leader(Connection& c);
Result<std::int64_t> end_workers(Connection& c);

}  // namespace goldlink::manager::db
