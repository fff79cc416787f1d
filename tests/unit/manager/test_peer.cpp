#include <catch2/catch.hpp>

#include "common/http/server.hpp"
#include "manager/peer.hpp"

namespace http = goldlink::http;
using Catch::Matchers::Contains;
using goldlink::manager::Peer;

TEST_CASE("a manager that leads no more calls nobody") {
    bool leads = true;
    const Peer peer("target", "unix:/nonexistent/target.sock", [&] { return leads; });
    CHECK_THAT(peer.call("PUT", "/links").error().detail, Contains("does not answer"));
    leads = false;
    const auto refused = peer.call("PUT", "/links");
    REQUIRE_FALSE(refused);
    CHECK(refused.error().no_answer());
    CHECK_THAT(refused.error().detail, Contains("does not lead any more"));
}

TEST_CASE("octets come as they are, and text as UTF-8") {
    const auto answer = [](const char* type) {
        return [type](http::Request&) {
            http::Response response;
            response.content_type = type;
            response.body = "\"\xff\xfe\"";
            return response;
        };
    };
    http::Server server({{"POST", "/octets", answer("application/octet-stream")},
                         {"GET", "/text", answer("application/json")}});
    REQUIRE(server.listen("127.0.0.1:0"));
    const Peer peer("target", "127.0.0.1:" + std::to_string(server.port()));
    CHECK(*peer.call("POST", "/octets") == "\"\xff\xfe\"");
    CHECK(*peer.call("GET", "/text") == "\"\xef\xbf\xbd\xef\xbf\xbd\"");
}
