// goldlink task: long work with progress.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "manager/cli/connect.hpp"
#include "manager/cli/text.hpp"

namespace goldlink::cli {

namespace {

struct Arguments {
    std::string id;
    std::string state;
};

std::string task_path(const std::string& id) { return "/tasks/" + http::percent_encode(id); }

std::string progress_cell(const json::value& task) {
    const auto total = std::max<std::int64_t>(int_of(task, "total_bytes"), 0);
    const auto done =
        std::clamp<std::int64_t>(int_of(task, "done_bytes"), 0, std::max<std::int64_t>(total, 0));
    if (total == 0) return "";
    return fmt::format("{:.0f} % of {}",
                       100.0 * static_cast<double>(done) / static_cast<double>(total),
                       format_bytes(static_cast<std::uint64_t>(total)));
}

void print_tasks(const json::array& tasks) {
    Table table({"ID", "KIND", "OF", "STATE", "PROGRESS", "CREATED", "MESSAGE"});
    for (const auto& task : tasks)
        table.add({text_of(task, "id"), text_of(task, "kind"), text_of(task, "subject"),
                   text_of(task, "state"), progress_cell(task),
                   format_time(text_of(task, "created_at")),
                   text_of(task, "error", text_of(task, "message"))});
    print(table.to_string());
}

Result<> list_tasks(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(auto page,
                        api.get("/tasks" + query({{"state", arguments.state}, {"limit", "50"}})));
    const auto& tasks = items_of(page, "items");
    if (session.json)
        print_json(tasks);
    else if (tasks.empty())
        print_note("no tasks\n");
    else
        print_tasks(tasks);
    return {};
}

Result<> show_task(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(auto task, api.get(task_path(arguments.id)));
    if (session.json)
        print_json(task);
    else
        print_tasks({task});
    return {};
}

Result<> wait_for_task(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(auto task, api.get(task_path(arguments.id)));
    const auto title =
        fmt::format("{} {}", text_of(task, "kind", "task"), printable(text_of(task, "subject")));
    GOLDLINK_TRY_ASSIGN(auto done, follow_task(api, std::move(task), title));
    if (session.json)
        print_json(done);
    else
        print_tasks({done});
    return {};
}

Result<> cancel_task(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY(api.remove(task_path(arguments.id)));
    if (session.json)
        print_json({{"cancelled", arguments.id}});
    else
        print(fmt::format("{} is ending\n", arguments.id));
    return {};
}

}  // namespace

void add_task_verbs(CLI::App& root, Session& session) {
    auto& noun = *add_noun(root, "task", "Long work with progress: imports, verifies, commits");
    const auto arguments = std::make_shared<Arguments>();
    const auto verb = [&](VerbText text, Result<> (*action)(const Session&, const Arguments&)) {
        return add_verb(noun, session, text,
                        [&session, arguments, action] { return action(session, *arguments); });
    };
    const auto by_id = [&](CLI::App* app) {
        app->add_option("ID", arguments->id, "The task's id: 'goldlink task ls'")->required();
    };
    auto* list =
        verb({"ls", "List the last 50 tasks, newest first", "", "goldlink task ls --state running"},
             list_tasks);
    list->add_option("--state", arguments->state, "Only those in a state")
        ->check(CLI::IsMember({"queued", "running", "done", "failed", "cancelled"}));
    by_id(verb({"show", "Show a task", "", "goldlink task show 8d2f..."}, show_task));
    by_id(verb({"wait", "Follow a task to its end", "Exit code 1 when it failed or was cancelled.",
                "goldlink task wait 8d2f..."},
               wait_for_task));
    by_id(verb({"cancel", "Cancel a task that is not finished", "", "goldlink task cancel 8d2f..."},
               cancel_task));
}

}  // namespace goldlink::cli
