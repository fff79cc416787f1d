// Tasks: listed, shown, cancelled. What they do is carried out by the reconciler.
#include <fmt/format.h>

#include <algorithm>

#include "manager/api/input.hpp"
#include "manager/api/views.hpp"
#include "manager/db/history.hpp"

namespace goldlink::manager::api {
namespace {

Answer list(Call& call) {
    GOLDLINK_TRY_CALL(const Page page, page_of(call, true));
    std::optional<std::string> state;
    if (const std::string wanted = call.request.query_value("state"); !wanted.empty()) {
        constexpr std::string_view kStates[] = {"queued", "running", "done", "failed", "cancelled"};
        if (std::find(std::begin(kStates), std::end(kStates), wanted) == std::end(kStates))
            return refuse_field("state", "state is queued, running, done, failed or cancelled");
        state = wanted;
    }
    GOLDLINK_TRY_ASSIGN(auto tasks, call.services.pool.run([&](db::Connection& c) {
        return db::list_tasks(c, state, page.cursor, page.limit + 1);
    }));
    return page_response(
        std::move(tasks), page, [](const db::Task& task) { return view(task); },
        [](const db::Task& task) { return task.id; });
}

Maybe<db::Task> needed_task(db::Connection& c, const Call& call) {
    GOLDLINK_TRY_CALL(const std::string id, uuid_param(call, "task_id", "task"));
    GOLDLINK_TRY_ASSIGN(auto task, db::find_task(c, id));
    if (!task) return refuse_missing(fmt::format("task {}", id));
    return std::move(*task);
}

Answer get(Call& call) {
    return call.services.pool.run([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY_CALL(const db::Task task, needed_task(c, call));
        return json_response(200, view(task));
    });
}

Answer cancel(Call& call) {
    return call.services.pool.transact([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY_CALL(const db::Task task, needed_task(c, call));
        GOLDLINK_TRY_ASSIGN(const bool asked, db::request_cancel(c, task.id));
        if (!asked)
            return refuse(409, "task-ended", "The task has ended",
                          fmt::format("it is {}; there is nothing left to cancel", task.state));
        GOLDLINK_TRY_CALL(const db::Task now, needed_task(c, call));
        return json_response(202, view(now));
    });
}

}  // namespace

void add_task_routes(Table& table) {
    table.push_back({"GET", "/tasks", kRead, {"limit", "cursor", "state"}, list});
    table.push_back({"GET", "/tasks/{task_id}", kRead, {}, get});
    table.push_back({"DELETE", "/tasks/{task_id}", kWrite, {}, cancel});
}

}  // namespace goldlink::manager::api
