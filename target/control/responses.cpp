#include <fmt/format.h>

#include <boost/json.hpp>
#include <charconv>

#include "common/json.hpp"
#include "target/control/control_context.hpp"

namespace goldlink::control {

http::Response respond_json(int status, const boost::json::value& body) {
    return respond_text(status, json::serialize(body));
}

http::Response respond_text(int status, std::string json_text) {
    http::Response response;
    response.status = status;
    response.body = std::move(json_text);
    return response;
}

http::Response respond(const OperationError& error) {
    const http::Response plain = http::problem(error.error);
    if (error.type.empty()) return plain;
    std::string title = error.type;
    for (char& c : title)
        if (c == '-') c = ' ';
    title[0] = static_cast<char>(title[0] - 'a' + 'A');
    std::string extra;
    if (!error.links.empty())
        extra = "\"links\":" + json::serialize(json::array(error.links.begin(), error.links.end()));
    return http::problem(plain.status, error.type, title, error.error.message, extra);
}

Result<std::uint64_t> number_query(const http::Request& request, std::string_view name,
                                   std::optional<std::uint64_t> fallback, std::uint64_t most) {
    const auto given = request.query.find(std::string(name));
    if (given == request.query.end() && fallback) return *fallback;
    const std::string text = given == request.query.end() ? "" : given->second;
    std::uint64_t number = 0;
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, number);
    if (text.empty() || stop != end || error != std::errc() || number > most)
        return failure(ErrorKind::invalid,
                       fmt::format("query '{}' must be a number from 0 to {}", name, most));
    return number;
}

Result<boost::json::object> body_object(const http::Request& request) {
    if (request.body.empty()) return boost::json::object();
    return json::parse_object(request.body);
}

}  // namespace goldlink::control
