// A response of plain text, for test servers.
#pragma once

#include "common/http/server.hpp"

namespace goldlink::test {

inline http::Response plain_text(std::string body) {
    http::Response response;
    response.content_type = "text/plain";
    response.body = std::move(body);
    return response;
}

}  // namespace goldlink::test
