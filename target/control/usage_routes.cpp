// GET /links/{id}/usage: what fills an overlay.
#include <boost/json.hpp>

#include "common/json.hpp"
#include "target/control/control_context.hpp"

namespace goldlink::control {
namespace {

constexpr unsigned kDefaultFiles = 20;

json::value text_or_null(std::string_view text) {
    if (text.empty()) return nullptr;
    return json::value(text);
}

json::object partition_json(const usage::PartitionUse& use) {
    const usage::Contents& contents = use.contents;
    json::array files;
    for (const usage::FileUse& file : contents.files)
        files.push_back(json::object{{"path", file.path},
                                     {"written_bytes", file.written_bytes},
                                     {"size_bytes", file.size_bytes}});
    json::object shown{{"number", nullptr},
                       {"offset_bytes", use.partition.offset_bytes},
                       {"length_bytes", use.partition.length_bytes},
                       {"written_bytes", use.written_bytes},
                       {"file_system", text_or_null(usage::name_of(contents.file_system))},
                       {"readable", usage::is_readable(contents.file_system)},
                       {"problem", text_or_null(use.gap_text)},
                       {"file_bytes", contents.file_bytes},
                       {"metadata_bytes", contents.metadata_bytes},
                       {"free_bytes", contents.free_bytes},
                       {"other_bytes", use.other_bytes()},
                       {"file_count", contents.file_count},
                       {"files", std::move(files)}};
    if (use.partition.number > 0) shown["number"] = use.partition.number;
    return shown;
}

http::Response get_usage(ControlContext& context, const http::Request& request) {
    const auto lun = number_query(request, "lun", 0, kMaxLun);
    if (!lun) return http::problem(lun.error());
    const auto files = number_query(request, "files", kDefaultFiles, usage::kMaxFiles);
    if (!files) return http::problem(files.error());
    const auto found =
        context.links.usage(request.params.at("id"), static_cast<std::uint16_t>(*lun),
                            static_cast<std::uint32_t>(*files));
    if (!found) return respond(found.error());
    json::array partitions;
    for (const usage::PartitionUse& each : found->disk.partitions)
        partitions.push_back(partition_json(each));
    return respond_json(200, json::object{{"lun", *lun},
                                          {"version", found->version},
                                          {"live", found->live},
                                          {"disk_bytes", found->disk.disk_bytes},
                                          {"used_bytes", found->disk.used_bytes},
                                          {"outside_bytes", found->disk.outside_bytes},
                                          {"partitions", std::move(partitions)},
                                          {"complete", found->disk.incomplete.empty()},
                                          {"why", text_or_null(found->disk.incomplete)}});
}

}  // namespace

void add_usage_routes(std::vector<http::Route>& routes, ControlContext& c) {
    routes.push_back(
        {"GET", "/links/{id}/usage", [&c](http::Request& r) { return get_usage(c, r); }});
}

}  // namespace goldlink::control
