// Heads of requests: where they end, and what two readers could understand differently.
#include <catch2/catch.hpp>

#include "common/http/request_head.hpp"

using namespace goldlink::http;

namespace {

std::string head(std::string_view fields, std::string_view version = "HTTP/1.1") {
    return "POST /echo " + std::string(version) + "\r\n" + std::string(fields) + "\r\n";
}

}  // namespace

TEST_CASE("heads that mean one thing are taken") {
    for (const std::string fields :
         {"Host: x\r\n", "host:10.0.0.1:8080\r\n", "Host: [fe80::1%25net0]:80\r\n", "Host:\r\n",
          "Host: x\r\nContent-Length: 0\r\n", "Host: x\r\nTransfer-Encoding: chunked\r\n",
          "Host: x\r\nTRANSFER-ENCODING: \t Chunked \r\n", "Host: x\r\nX: \xc3\xbc\tb\r\n"}) {
        INFO(fields);
        CHECK(head_fault(head(fields)).empty());
    }
    CHECK(head_fault(head("", "HTTP/1.0")).empty());
    CHECK(head_fault(head("Content-Length: 5\r\n", "HTTP/1.0")).empty());
}

TEST_CASE("heads whose body or host is in doubt are refused") {
    for (const std::string fields :
         {"",
          "Host: x\r\nHost: x\r\n",
          "Host: x y\r\n",
          "Host: user@x\r\n",
          "Host: x:80:80\r\n",
          "Host: x:port\r\n",
          "Host: [::1\r\n",
          "Host: x/y\r\n",
          "Host: x\r\nTransfer-Encoding: gzip, chunked\r\n",
          "Host: x\r\nTransfer-Encoding: chunked, chunked\r\n",
          "Host: x\r\nTransfer-Encoding: chunked, identity\r\n",
          "Host: x\r\nTransfer-Encoding: identity\r\n",
          "Host: x\r\nTransfer-Encoding:\r\n",
          "Host: x\r\nTransfer-Encoding: \"chunked\"\r\n",
          "Host: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
          "Host: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
          "Host: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
          "Host: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
          "Host: x\r\nTransfer-Encoding:\r\n chunked\r\n",
          "Host: x\r\nX: a\r\n b\r\n",
          "Host: x\r\nX: a\r\n\tb\r\n",
          " Host: x\r\n",
          "Host : x\r\n",
          "Host: x\r\nX\r\n",
          "Host: x\r\n: y\r\n",
          "Host: x\r\nTransfer-Encoding : chunked\r\n",
          "Host: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n",
          "Host: x\r\nContent-Length: 5, 5\r\n",
          "Host: x\r\nContent-Length: +5\r\n",
          "Host: x\r\nContent-Length: 0x5\r\n",
          "Host: x\r\nContent-Length:\r\n",
          "Host: x\r\nContent-Length: 99999999999999999999\r\n",
          "Host: x\r\nX: a\x01\r\n"}) {
        INFO(fields);
        CHECK_FALSE(head_fault(head(fields)).empty());
    }
    CHECK_FALSE(head_fault(head("Transfer-Encoding: chunked\r\n", "HTTP/1.0")).empty());
    CHECK_FALSE(head_fault(head("Host: x\r\nHost: y\r\n", "HTTP/1.0")).empty());
}

TEST_CASE("a head's end is found however it arrives, and bytes that are none are told at once") {
    const std::string whole = head("Host: x\r\n") + "body";
    for (std::size_t step = 1; step < whole.size(); ++step) {
        HeadEnd end;
        auto found = HeadEnd::Found::more;
        for (std::size_t n = step; found == HeadEnd::Found::more; n += step)
            found = end.look(std::string_view(whole).substr(0, n));
        CHECK(found == HeadEnd::Found::end);
        CHECK(end.head_bytes() == whole.size() - 4);
    }
    using namespace std::string_literals;
    for (const std::string& bytes : {"\x16\x03\x01"s, "GET / HTTP/1.1\n"s, "GET / HTTP/1.1\rX"s,
                                     "GET /\0"s, "\r\nGET / HTTP/1.1\r\n\r\n"s}) {
        HeadEnd end;
        CHECK(end.look(bytes) == HeadEnd::Found::fault);
        CHECK_FALSE(end.fault().empty());
    }
    HeadEnd end;
    CHECK(end.look("GET / HTTP/1.1\r\n\r") == HeadEnd::Found::more);
    CHECK(end.look("") == HeadEnd::Found::more);
}
