#include <catch2/catch.hpp>

#include "common/http/client.hpp"
#include "common/http/router.hpp"

using namespace goldlink;
using namespace goldlink::http;

namespace {

Router make_router() {
    std::vector<Route> routes;
    for (const auto& [method, pattern] :
         std::vector<std::pair<std::string, std::string>>{{"GET", "/links"},
                                                          {"PUT", "/links"},
                                                          {"GET", "/links/{id}"},
                                                          {"GET", "/links/all"},
                                                          {"POST", "/links/{id}/boots"},
                                                          {"GET", "/files/{path...}"},
                                                          {"GET", "/{page}"},
                                                          {"GET", "/"}})
        routes.push_back({method, pattern, nullptr});
    return Router(std::move(routes));
}

std::string pattern_for(const Router& router, std::string_view method, std::string_view target) {
    const auto found = router.find(method, *Target::parse(target));
    return found.route == nullptr ? "none" : found.route->pattern;
}

}  // namespace

TEST_CASE("the most literal route wins, HEAD is GET, a wrong method names the right ones") {
    const Router router = make_router();
    CHECK(pattern_for(router, "GET", "/links") == "/links");
    CHECK(pattern_for(router, "HEAD", "/links?x=1") == "/links");
    CHECK(pattern_for(router, "GET", "/links/all") == "/links/all");
    CHECK(pattern_for(router, "GET", "/links/7") == "/links/{id}");
    CHECK(pattern_for(router, "GET", "/links/") == "none");
    CHECK(pattern_for(router, "GET", "/links/7/boots/8") == "none");
    CHECK(pattern_for(router, "GET", "/") == "/");
    CHECK(pattern_for(router, "GET", "/about") == "/{page}");
    CHECK(pattern_for(router, "GET", "/files") == "/{page}");
    CHECK(pattern_for(router, "GET", "/files/a/b.efi") == "/files/{path...}");
    CHECK(router.find("GET", *Target::parse("/files/a/b%20c")).params.at("path") == "a/b c");
    CHECK(router.find("GET", *Target::parse("/links/a%2Fb")).params.at("id") == "a/b");
    CHECK(router.find("DELETE", *Target::parse("/links")).allowed ==
          std::vector<std::string>{"GET", "PUT"});
}

TEST_CASE("a request target cannot leave its folder or hide what it means") {
    for (const std::string bad :
         {"", "links", "http:///y", "http://a@x/y", "http://x:y/", "ftp://x/y", "http:/x",
          "http://x/../y", "/a/../b", "/..", "/%2e%2e/x", "/a/./b", "/%", "/%4", "/%zz", "/a%00b",
          "/?q=%0", "*"}) {
        INFO(bad);
        CHECK_FALSE(Target::parse(bad));
    }
    CHECK_FALSE(Target::parse("/" + std::string(100, '/')));
    const Router router = make_router();
    CHECK(pattern_for(router, "GET", "/files/..%2f..%2fetc%2fpasswd") == "none");
    const auto target = Target::parse("/a%20b/c?x=1+2&y=%26&flag&x=3");
    REQUIRE(target);
    CHECK(target->path == "/a b/c");
    CHECK(target->query ==
          std::map<std::string, std::string>{{"x", "3"}, {"y", "&"}, {"flag", ""}});
    CHECK(percent_encode("a b/ü~") == "a%20b%2F%C3%BC~");
}
