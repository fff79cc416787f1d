#include "pxe/http.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "common/hex.hpp"
#include "pxe/firmware.hpp"

namespace goldlink::pxe {

namespace {

http::Response text(std::string body) {
    http::Response response;
    response.content_type = "text/plain; charset=utf-8";
    response.body = std::move(body);
    // A script carries a one-time secret and belongs to one boot.
    response.headers.emplace_back("Cache-Control", "no-store");
    return response;
}

Ipv4 ipv4_or_empty(std::string_view address) { return Ipv4::parse(address).value_or(Ipv4{}); }

// "10.0.0.1:8081"
void split_local(const std::string& local, ScriptQuery& query) {
    const auto colon = local.rfind(':');
    if (colon == std::string::npos) return;
    query.local = ipv4_or_empty(local.substr(0, colon));
    std::from_chars(local.data() + colon + 1, local.data() + local.size(), query.local_port);
}

Result<ScriptQuery> script_query(const http::Request& request) {
    ScriptQuery query;
    GOLDLINK_TRY_ASSIGN(query.mac, Mac::parse(request.query_value("mac")));
    const std::string uuid = request.query_value("uuid");
    if (is_uuid(uuid)) query.uuid = uuid;
    if (const auto* row = find_architecture(std::string_view(request.query_value("arch"))))
        query.architecture = row->name;
    query.client = ipv4_or_empty(request.query_value("ip"));
    if (query.client.empty()) query.client = ipv4_or_empty(request.peer);
    split_local(request.local, query);
    const std::string number = request.query_value("try", "1");
    unsigned value = 1;
    std::from_chars(number.data(), number.data() + number.size(), value);
    query.try_number = std::clamp(value, 1U, kMaxTry);
    query.register_it = request.query_value("register") == "1";
    return query;
}

// What UEFI HTTP boot goes by (UEFI 2.10 section 24.7.2): a program, not a disk image.
std::string content_type(const std::string& name) {
    return name.ends_with(".efi") ? "application/efi" : "application/octet-stream";
}

}  // namespace

std::vector<http::Route> http_boot_routes(ScriptService& scripts, const BootFiles& files,
                                          Metrics& metrics, HttpFileSent on_file) {
    std::vector<http::Route> routes;
    routes.push_back({"GET", "/boot", [&scripts](http::Request& request) {
                          const auto query = script_query(request);
                          if (!query) return http::problem(query.error());
                          if (request.method == "HEAD") return text("");
                          return text(scripts.script(*query));
                      }});
    routes.push_back({"GET", "/boot/failed", [&scripts](http::Request& request) {
                          const auto mac = Mac::parse(request.query_value("mac"));
                          if (!mac) return http::problem(mac.error());
                          scripts.failed(*mac, request.query_value("stage"),
                                         request.query_value("error"), ipv4_or_empty(request.peer));
                          return text("noted\n");
                      }});
    routes.push_back({"GET", "/files/{name}", [&files, &metrics, on_file](http::Request& request) {
                          const std::string& name = request.params["name"];
                          const auto file = files.open(name);
                          if (!file) return http::problem(file.error());
                          if (request.method == "GET") {
                              metrics.http_files++;
                              on_file(ipv4_or_empty(request.peer), name, file->bytes);
                          }
                          http::Response response;
                          response.content_type = content_type(name);
                          response.file_path = file->path;
                          return response;
                      }});
    return routes;
}

}  // namespace goldlink::pxe
