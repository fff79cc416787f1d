// Upload sets and exported files: what goes in and out in pieces.
#include <fmt/format.h>

#include <boost/json.hpp>

#include "common/json.hpp"
#include "target/control/control_context.hpp"
#include "target/control/import_files.hpp"

namespace goldlink::control {
namespace {

http::Response put_upload_file(ControlContext& context, http::Request& request) {
    // Not first sent and then refused.
    if (const auto usable = context.store.list(); !usable) return http::problem(usable.error());
    const auto offset = number_query(request, "offset", std::nullopt);
    if (!offset) return http::problem(offset.error());
    const auto total = number_query(request, "total", std::nullopt);
    if (!total) return http::problem(total.error());
    const std::string& file = request.params.at("file");
    const std::string& set = request.params.at("name");
    const auto there = context.uploads.append(
        set, file, *offset, *total, *request.body_reader,
        expected_image(request, file, context.arrivals, Arrivals::key_of(set, file), *total));
    if (!there) return http::problem(there.error());
    return respond_json(200, json::object{{"bytes", *there}});
}

http::Response get_upload(ControlContext& context, const http::Request& request) {
    const auto files = context.uploads.files(request.params.at("name"));
    if (!files) return http::problem(files.error());
    json::array array;
    for (const SpooledFile& file : *files)
        array.push_back(json::object{{"name", file.name}, {"bytes", file.bytes}});
    return respond_json(200, json::object{{"files", std::move(array)}});
}

http::Response get_export(ControlContext& context, const http::Request& request) {
    const auto file = context.exports.find(request.params.at("id"));
    if (!file) return http::problem(file.error());
    http::Response response;
    response.content_type = "application/octet-stream";
    response.file_path = file->string();
    return response;
}

http::Response delete_export(ControlContext& context, const http::Request& request) {
    const auto removed = context.exports.remove(request.params.at("id"));
    if (!removed) return http::problem(removed.error());
    return respond_text(204, "");
}

}  // namespace

void add_transfer_routes(std::vector<http::Route>& routes, ControlContext& c) {
    using http::Request;
    add_chunk_routes(routes, c);
    routes.push_back({"PUT", "/uploads/{name}/{file}",
                      [&c](Request& r) { return put_upload_file(c, r); }, 0, true});
    routes.push_back({"GET", "/uploads/{name}", [&c](Request& r) { return get_upload(c, r); }});
    routes.push_back({"GET", "/exports/{id}", [&c](Request& r) { return get_export(c, r); }});
    routes.push_back({"DELETE", "/exports/{id}", [&c](Request& r) { return delete_export(c, r); }});
}

}  // namespace goldlink::control
