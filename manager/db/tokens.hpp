// Queries on tokens and on idempotency keys. One function a query; run them on a lent connection.
#pragma once

#include "manager/db/connection.hpp"
#include "manager/db/rows.hpp"

namespace goldlink::manager::db {

// The token with this hash that has not expired; its last use is noted once a minute.
Result<std::optional<Token>> use_token(Connection& c, const std::string& sha256);
// `expires_in_seconds` unset: it does not expire.
Result<Token> insert_token(Connection& c, const std::string& name, const std::string& role,
                           const std::string& sha256,
                           std::optional<std::int64_t> expires_in_seconds);
Result<std::vector<Token>> list_tokens(Connection& c, const std::string& after_id, int limit);
// Whether there was one.
Result<bool> delete_token(Connection& c, const std::string& id);
// How many unexpired admin tokens there are beside this one: the last must stay.
Result<std::int64_t> count_other_admins(Connection& c, const std::string& id);

struct KeptAnswer {
    std::string fingerprint;
    std::optional<std::int64_t> status;  // nullopt: the first request has not ended yet
    std::string body;
};
// Claims the key for this request: nullopt, or what is known of the earlier request that has it.
// A claim without an answer older than ten minutes (its manager died) is taken over.
Result<std::optional<KeptAnswer>> claim_key(Connection& c, const std::string& token_id,
                                            const std::string& key, const std::string& fingerprint);
Result<> keep_answer(Connection& c, const std::string& token_id, const std::string& key, int status,
                     const std::string& body);
Result<> release_key(Connection& c, const std::string& token_id, const std::string& key);
Result<> forget_old_keys(Connection& c);  // those of more than a day

}  // namespace goldlink::manager::db
