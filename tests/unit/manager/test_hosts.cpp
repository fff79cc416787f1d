#include <catch2/catch.hpp>

#include "manager/db/hosts.hpp"

using namespace goldlink::manager::db;
using Named = std::vector<std::pair<std::string, std::string>>;

namespace {

// What is given to libpq beside the URL itself, for each host.
std::vector<Named> named(const std::string& url) {
    std::vector<Named> all;
    for (const Server& server : servers_of(url)) {
        CHECK(server.url == url);
        all.push_back(server.options);
    }
    return all;
}

}  // namespace

TEST_CASE("one host, and what libpq will refuse, is left to libpq") {
    for (const char* url :
         {"postgresql://u:p@db1/gl", "host=/run/postgresql dbname=gl", "dbname=gl", "", "host",
          "postgresql://a:1,b:2,c:3/gl?port=7,8", "host=a,b hostaddr=10.0.0.1,10.0.0.2,10.0.0.3"})
        CHECK(named(url) == std::vector<Named>{{}});
}

TEST_CASE("each host of a database URL is a server of its own") {
    const std::pair<std::string, std::string> writes{"target_session_attrs", "read-write"};
    CHECK(named("postgresql://u:p@db1:5433,db2/gl") ==
          std::vector<Named>{{{"host", "db1"}, {"port", "5433"}, writes},
                             {{"host", "db2"}, {"port", ""}, writes}});
    CHECK(named("host=/a,/b port=5433 dbname=gl") ==
          std::vector<Named>{{{"host", "/a"}, {"port", "5433"}, writes},
                             {{"host", "/b"}, {"port", "5433"}, writes}});
    CHECK(
        named("hostaddr=10.0.0.1,10.0.0.2 dbname=gl") ==
        std::vector<Named>{{{"hostaddr", "10.0.0.1"}, writes}, {{"hostaddr", "10.0.0.2"}, writes}});
    CHECK(named("host=a,b target_session_attrs=any") ==
          std::vector<Named>{{{"host", "a"}}, {{"host", "b"}}});
}
