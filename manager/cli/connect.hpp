// How a verb reaches the manager: address and token from options, environment and files.
// Include only from .cpp files (api.hpp).
#pragma once

#include "manager/cli/api.hpp"
#include "manager/cli/session.hpp"

namespace goldlink::cli {

// Token: GOLDLINK_TOKEN, else --token-file, else admin.token in $GOLDLINK_STATE_DIR, $STATE or
// /var/lib/goldlink, the first that is readable. An unreadable --token-file is an error; without
// any token the call goes out bare and the manager's refusal says what to do.
Result<Api> connect(const Session& session);

// Another server; its token comes from a file, "" for none.
Result<Api> connect_to(const std::string& url, const std::string& token_file);

// The result of a verb with --json: one line of JSON.
void print_json(const json::value& value);

// Shows a task's progress until it ended; a task that failed or was cancelled is an error. Follows
// through a manager that is away for up to a minute.
Result<json::value> follow_task(Api& api, json::value task, const std::string& title);

}  // namespace goldlink::cli
