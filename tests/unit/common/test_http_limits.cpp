// What the HTTP server takes of peers that are slow, greedy or no peers at all.
#include "tests/unit/common/http_rig.hpp"

using namespace goldlink;
using namespace goldlink::http;
using namespace goldlink::test;
using namespace std::chrono_literals;
constexpr auto text = goldlink::test::plain_text;

// sendfile(2) has no MSG_NOSIGNAL: a browser that leaves a download must not end the program.
TEST_CASE("a peer that leaves in the middle of a file harms nobody") {
    Fixture f;
    std::ofstream(f.folder.path() / "large.bin") << std::string(8 << 20, 'x');
    for (int i = 0; i < 20; ++i) {
        auto raw = f.raw();
        say(raw, "GET /file/large.bin HTTP/1.1\r\nHost: x\r\n\r\n");
        char buffer[1000];
        boost::system::error_code error;
        CHECK(raw.read_some(boost::asio::buffer(buffer), error) > 0);
    }
    Client client(f.address());
    CHECK(client.send({.target = "/hello/x"})->body == "hello x");
}

TEST_CASE("garbage, smuggling and oversized headers are refused and the connection ends") {
    Fixture f;
    const std::string big(20000, 'h');
    const std::vector<std::pair<std::string, std::string>> cases{
        {"\x16\x03\x01\x02garbage\r\n\r\n", "400"},
        {"GET /hello/x HTTP/1.1\r\nHost: x\r\nX: " + big + "\r\n\r\n", "431"},
        {"GET /" + big + " HTTP/1.1\r\n\r\n", "431"},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "400"},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
         "400"},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: "
         "chunked\r\n\r\n0\r\n\r\n",
         "400"},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "400"},
        {"GET /hello/x HTTP/9.9\r\nHost: x\r\n\r\n", "400"},
        {"GET /hello/x HTTP/1.1\r\n\r\n", "400"},
        {"GET /hello/x HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "400"},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
         "GET /hello/smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
         "400"},
        {"GET /hello/x HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n"
         "GET /hello/smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
         "400"},
    };
    for (const auto& [sent, status] : cases) {
        INFO(sent.substr(0, 60));
        auto raw = f.raw();
        say(raw, sent);
        const std::string answer = read_all(raw);
        CHECK(answer.starts_with("HTTP/1.1 " + status + " "));
        CHECK(count(answer, "HTTP/1.1 ") == 1);
    }
    CHECK(f.get("/hello/still").body == "hello still");
}

TEST_CASE("a slow peer is dropped, in its header and in its body") {
    Fixture f({.io_timeout = 1s});
    auto header = f.raw();
    say(header, "GET /hello/x HT");
    CHECK(read_all(header).starts_with("HTTP/1.1 408 "));
    auto body = f.raw();
    say(body, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nab");
    CHECK(read_all(body).starts_with("HTTP/1.1 408 "));
    // One byte now and then makes progress, yet the header's time is bounded as a whole.
    auto drip = f.raw();
    std::atomic<bool> ended{false};
    std::thread dripper([&] {
        while (!ended) {
            say(drip, "G");
            std::this_thread::sleep_for(100ms);
        }
    });
    CHECK(read_all(drip).starts_with("HTTP/1.1 408 "));
    ended = true;
    dripper.join();
}

TEST_CASE("connections beyond the limit are told so, and free ones are used again") {
    Fixture f({.max_connections = 2, .idle_timeout = 60s});
    auto one = f.raw();
    auto two = f.raw();
    for (SocketStream* busy : {&one, &two}) {
        say(*busy,
            "PUT /count HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
        boost::system::error_code error;
        busy->wait_readable(error);  // it asks for the body: the request is being worked on
        REQUIRE_FALSE(error);
    }
    auto refused = [&] {
        auto raw = f.raw();
        say(raw, "GET /hello/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        return read_all(raw);
    };
    const std::string answer = refused();
    CHECK(
        (answer.starts_with("HTTP/1.1 503 ") || answer.empty()));  // empty: our bytes met the close
    one.close();
    const auto deadline = std::chrono::steady_clock::now() + 20s;
    while (!refused().ends_with("hello x")) REQUIRE(std::chrono::steady_clock::now() < deadline);
}

TEST_CASE("whoever holds all connections and says nothing, or half a header, keeps nobody out") {
    Fixture f(
        {.max_connections = 64, .idle_timeout = 600s, .io_timeout = 600s, .header_timeout = 600s});
    std::vector<SocketStream> held;
    for (int i = 0; i < 200; ++i) {
        held.push_back(f.raw());
        if (i % 2 == 0) say(held.back(), "GET /hello/x HTTP/1.1\r\nHost: x\r\nA: ");
        if (i % 20 == 0) CHECK(f.get("/hello/me").body == "hello me");
    }
    CHECK(read_all(held.front()).empty());  // the oldest ones were ended
    CHECK(f.get("/hello/me").body == "hello me");
}

TEST_CASE("a target in absolute form is taken, and its host is the request's") {
    std::vector<Route> all;
    all.push_back({"GET", "/a/{b}", [](Request& r) {
                       return text(r.params.at("b") + " " + r.query_value("c") + " " +
                                   r.header("host"));
                   }});
    all.push_back({"GET", "/", [](Request&) { return text("root"); }});
    Server server(std::move(all));
    REQUIRE(server.listen("127.0.0.1:0"));
    const auto ask = [&](const std::string& target) {
        SocketStream stream(
            *connect_to(*Address::parse("127.0.0.1:" + std::to_string(server.port())), 5s));
        say(stream, "GET " + target + " HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n");
        return read_all(stream);
    };
    CHECK(ask("http://10.0.0.1:8080/a/x?c=d").ends_with("\r\n\r\nx d 10.0.0.1:8080"));
    CHECK(ask("HTTP://[fe80::1]/a/x").ends_with("\r\n\r\nx  [fe80::1]"));
    CHECK(ask("http://host").ends_with("\r\n\r\nroot"));
    CHECK(ask("http:///a/x").starts_with("HTTP/1.1 400 "));
    CHECK(ask("http://user@host/a/x").starts_with("HTTP/1.1 400 "));
    CHECK(ask("/a/x?c=d").ends_with("\r\n\r\nx d other"));
}

TEST_CASE("a client bounds what it takes and how long it waits") {
    Fixture f;
    Client client(f.address());
    CHECK(client.send({.target = "/wait", .timeout = 100ms}).error().kind == ErrorKind::timeout);
    REQUIRE(replace_file(f.folder.path() / "big", std::string(100000, 'b')));
    CHECK(client.send({.target = "/file/big", .max_response_bytes = 99999}).error().kind ==
          ErrorKind::invalid);
    std::size_t seen = 0;
    ClientRequest download{.target = "/file/big", .max_response_bytes = 10};
    download.on_data = [&seen](std::string_view bytes) {
        seen += bytes.size();
        return true;
    };
    CHECK(client.send(download)->status == 200);
    CHECK(seen == 100000);
    download.on_data = [](std::string_view) { return false; };
    CHECK(client.send(download).error().kind == ErrorKind::cancelled);
    f.server->stop();
    CHECK(client.send({.target = "/hello/x"}).error().kind == ErrorKind::unavailable);
}
