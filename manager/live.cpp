#include "manager/live.hpp"

#include <fmt/format.h>

namespace goldlink::manager {

std::vector<http::Route> live_routes(Services& services) {
    std::vector<http::Route> routes;
    routes.push_back({"GET", "/live", [&services](http::Request&) {
                          http::Response response;
                          response.body = fmt::format("{{\"database\":{}}}",
                                                      services.watch.problem() ? "false" : "true");
                          return response;
                      }});
    return routes;
}

}  // namespace goldlink::manager
