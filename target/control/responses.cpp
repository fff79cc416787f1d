#include <boost/json.hpp>

#include "common/json.hpp"
#include "target/control/control_context.hpp"

namespace goldlink::control {

http::Response respond_json(int status, const boost::json::value& body) {
    return respond_text(status, boost::json::serialize(body));
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
        extra = "\"links\":" +
                boost::json::serialize(boost::json::array(error.links.begin(), error.links.end()));
    return http::problem(plain.status, error.type, title, error.error.message, extra);
}

Result<boost::json::object> body_object(const http::Request& request) {
    if (request.body.empty()) return boost::json::object();
    return json::parse_object(request.body);
}

}  // namespace goldlink::control
