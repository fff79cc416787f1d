// What the control API's routes work on, and how they answer. Each add_..._routes appends the
// routes of one resource; handlers run on connection threads of the HTTP server, many at once.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "common/http/server.hpp"
#include "target/control/arrivals.hpp"
#include "target/control/export_files.hpp"
#include "target/control/garbage.hpp"
#include "target/control/link_table.hpp"
#include "target/control/pins.hpp"
#include "target/control/registry_binding.hpp"
#include "target/control/server_paths.hpp"
#include "target/control/serving_problems.hpp"
#include "target/control/task_queue.hpp"
#include "target/control/transfers.hpp"
#include "target/control/upload_spool.hpp"
#include "target/iscsi/portal.hpp"

namespace boost::json {
class value;
}

namespace goldlink::control {

struct ControlContext {
    LinkTable& links;
    store::ImageStore& store;
    TaskQueue& tasks;
    UploadSpool& uploads;
    ExportFiles& exports;
    const ServerPaths& server_paths;
    Arrivals& arrivals;
    Transfers& transfers;
    GarbageCollector& garbage;
    EventLog& events;
    Problems& problems;  // whoever finds something that its admin should know adds it here
    ServingProblems& serving;
    BootTraces& traces;
    Pins& pins;
    RegistryBinding& registry;
    iscsi::PortalSet& portals;
    std::filesystem::path overlay_folder;
    std::string advertised_portal;  // "": chosen from the portals' addresses
    std::string io_kind;            // "io_uring" or "threads"
    std::chrono::steady_clock::time_point started;
};

void add_link_routes(std::vector<http::Route>& routes, ControlContext& context);
void add_store_routes(std::vector<http::Route>& routes, ControlContext& context);
void add_transfer_routes(std::vector<http::Route>& routes, ControlContext& context);
void add_chunk_routes(std::vector<http::Route>& routes, ControlContext& context);
void add_garbage_routes(std::vector<http::Route>& routes, ControlContext& context);
void add_integrity_routes(std::vector<http::Route>& routes, ControlContext& context);
void add_registry_routes(std::vector<http::Route>& routes, ControlContext& context);
void add_trash_routes(std::vector<http::Route>& routes, ControlContext& context);
void add_status_routes(std::vector<http::Route>& routes, ControlContext& context);
void add_live_route(std::vector<http::Route>& routes, std::vector<reactor::Reactor*> reactors,
                    ControlContext& context);
void add_usage_routes(std::vector<http::Route>& routes, ControlContext& context);

// Where the files of imports come from and those of exports go to.
struct TransferFolders {
    UploadSpool& uploads;
    ExportFiles& exports;
    const ServerPaths& server_paths;
    Arrivals& arrivals;
};

// Does a task of the queue (import, commit, verify, repair, export).
Result<std::string> run_task(const TaskRequest& request, store::Progress& progress,
                             LinkTable& links, store::ImageStore& store,
                             const TransferFolders& folders, BootTraces& traces);

Result<std::string> run_gc(const TaskRequest& task, store::Progress& progress,
                           GarbageCollector& garbage);
Result<std::string> run_repair(const TaskRequest& request, store::Progress& progress,
                               LinkTable& links, store::ImageStore& store,
                               const TransferFolders& folders);
// The member of a task's report.
std::string findings_member(const std::vector<store::VerifyFinding>& findings);
boost::json::value damage_json(const std::string& damage);  // null when there is none

http::Response respond_json(int status, const boost::json::value& body);
http::Response respond_text(int status, std::string json_text);
http::Response respond(const OperationError& error);
http::Response respond_link(const ControlContext& context, const LinkView& view);
// A query parameter from 0 to `most`; invalid when it is no such number, or absent without
// fallback.
Result<std::uint64_t> number_query(const http::Request& request, std::string_view name,
                                   std::optional<std::uint64_t> fallback,
                                   std::uint64_t most = UINT64_MAX);
// The body as an object; an empty body is an empty object.
Result<boost::json::object> body_object(const http::Request& request);

// Where clients reach this target: `advertised`, else the first portal; where that listens on every
// address, the one from which `client_address` (may be "") is reached.
std::string portal_for(const std::vector<std::string>& portals, const std::string& advertised,
                       const std::string& client_address);

// Prometheus text format.
std::string render_metrics(ControlContext& context);

}  // namespace goldlink::control
