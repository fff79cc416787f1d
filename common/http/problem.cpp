#include <fmt/format.h>

#include "common/http/server.hpp"
#include "common/json.hpp"

namespace goldlink::http {
namespace {

std::string quoted(std::string_view text) {
    return json::serialize(json::value(boost::json::string(text)));
}

struct Mapping {
    ErrorKind kind;
    int status;
    std::string_view title;
};

constexpr Mapping kMappings[] = {
    {ErrorKind::invalid, 400, "The request is not valid"},
    {ErrorKind::not_found, 404, "Not found"},
    {ErrorKind::conflict, 409, "In conflict with what exists"},
    {ErrorKind::denied, 403, "Not allowed"},
    {ErrorKind::exhausted, 507, "No space or a limit is reached"},
    {ErrorKind::corrupt, 500, "Stored data is corrupt"},
    {ErrorKind::unavailable, 503, "Not available now"},
    {ErrorKind::timeout, 504, "It took too long"},
    {ErrorKind::io, 500, "The system refused"},
    {ErrorKind::cancelled, 409, "Cancelled"},
};

}  // namespace

Response problem(int status, std::string_view type, std::string_view title, std::string_view detail,
                 std::string_view extra_json_members) {
    Response response;
    response.status = status;
    response.content_type = "application/problem+json";
    response.body = fmt::format("{{\"type\":{},\"title\":{},\"status\":{},\"detail\":{}{}{}}}",
                                quoted(type), quoted(title), status, quoted(detail),
                                extra_json_members.empty() ? "" : ",", extra_json_members);
    return response;
}

Response problem(const Error& error) {
    for (const Mapping& mapping : kMappings) {
        if (mapping.kind != error.kind) continue;
        std::string type(to_string(error.kind));
        for (char& c : type)
            if (c == '_') c = '-';
        return problem(mapping.status, type, mapping.title, error.message);
    }
    return problem(500, "io", "The system refused", error.message);
}

}  // namespace goldlink::http
