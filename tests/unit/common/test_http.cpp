// The HTTP server and client over real sockets: what well-meaning and other peers send.
#include "tests/unit/common/http_rig.hpp"

using namespace goldlink;
using namespace goldlink::http;
using namespace goldlink::test;
using namespace std::chrono_literals;
constexpr auto text = goldlink::test::plain_text;

TEST_CASE("requests find their routes, and the rest gets problem details") {
    Fixture f;
    CHECK(f.get("/hello/a%20b").body == "hello a b");
    CHECK(f.get("/hello").status == 404);
    CHECK(f.get("/hello").header("content-type") == "application/problem+json");
    CHECK(f.get("/echo").status == 405);
    CHECK(f.get("/echo").header("allow") == "POST");
    CHECK(f.get("/hello/../x").status == 400);
    CHECK(f.get("/throw").status == 500);
    CHECK(f.get("/throw").body.find("oops") == std::string::npos);
    CHECK(f.get("/peer").body == "127.0.0.1 " + f.address());
}

TEST_CASE("a client keeps its connection, and outlives the server's closing of it") {
    Fixture f({.idle_timeout = 1s});
    Client client(f.address());
    for (int i = 0; i < 3; ++i) CHECK(client.send({.target = "/hello/x"})->body == "hello x");
    auto raw = f.raw();
    CHECK(read_all(raw).empty());  // the idle time is over for the client's connection too
    CHECK(client.send({.method = "POST", .target = "/echo", .body = "again"})->body == "again");
}

TEST_CASE("a stream whose length is said has that length, or breaks off") {
    Fixture f;
    Client client(f.address());
    const auto whole = client.send({.target = "/counted?bytes=1048576"});
    REQUIRE(whole);
    CHECK(whole->header("content-length") == "1048576");
    CHECK(whole->header("transfer-encoding").empty());
    CHECK((whole->body == std::string(1 << 20, 'c')));
    CHECK(client.send({.target = "/hello/x"})->body == "hello x");  // on the same connection
    for (const char* wrong : {"/counted?bytes=983040", "/counted?bytes=1114112"}) {
        std::size_t got = 0;
        const auto answer = client.send({.target = wrong, .on_data = [&](std::string_view bytes) {
                                             got += bytes.size();
                                             return true;
                                         }});
        INFO(wrong);
        CHECK(got <= 1 << 20);
        CHECK((answer.has_value() == (got == 1 << 20)));
    }
    CHECK(client.send({.method = "HEAD", .target = "/counted?bytes=0"})->status == 200);
}

TEST_CASE("bodies are bounded by their route, by length and chunk by chunk") {
    Fixture f;
    Client client(f.address());
    CHECK(client.send({.method = "POST", .target = "/echo", .body = std::string(100000, 'x')})
              ->body.size() == 100000);
    CHECK(client.send({.method = "POST", .target = "/echo", .body = std::string(100001, 'x')})
              ->status == 413);
    auto raw = f.raw();
    say(raw,
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n");
    CHECK(read_all(raw).ends_with("hello world"));
    auto endless = f.raw();
    say(endless, "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    const std::string chunk = "4000\r\n" + std::string(0x4000, 'y') + "\r\n";
    for (int i = 0; i < 10; ++i) say(endless, chunk);
    CHECK(read_all(endless).find("413") != std::string::npos);
}

TEST_CASE("a streamed upload is counted, and an early refusal reaches the sender") {
    Fixture f;
    Client client(f.address());
    std::uint64_t left = 0;
    const auto put = [&](const char* target, std::uint64_t length, std::uint64_t made) {
        left = made;
        MadeBody body(length, [&left](char* buffer, std::size_t size) -> Result<std::size_t> {
            const std::size_t n = std::min<std::uint64_t>(left, std::min<std::size_t>(size, 70000));
            std::fill(buffer, buffer + n, 'z');
            left -= n;
            return n;
        });
        return client.send({.method = "PUT", .target = target, .body_source = &body});
    };
    CHECK(put("/count", 3 << 20, 3 << 20)->body == "3145728 of 3145728");
    const auto refused = put("/refuse", 1 << 30, 1 << 30);
    REQUIRE(refused);
    CHECK(refused->status == 507);
    CHECK(left > 0);
    CHECK(put("/count", 1 << 20, 1000).error().kind == ErrorKind::invalid);
}

TEST_CASE("Expect: 100-continue is answered when the body is wanted, not before") {
    Fixture f;
    auto raw = f.raw();
    say(raw, "PUT /count HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    char buffer[25];
    boost::system::error_code error;
    std::size_t n = 0;
    while (n < sizeof buffer && !error)
        n += raw.read_some(boost::asio::buffer(buffer + n, sizeof buffer - n), error);
    CHECK(std::string(buffer, n) == "HTTP/1.1 100 Continue\r\n\r\n");
    say(raw, "abc");
    raw.shut_down_send();
    CHECK(read_all(raw).ends_with("3 of 3"));
    auto unwanted = f.raw();
    say(unwanted,
        "PUT /refuse HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: "
        "3000000000\r\n\r\n");
    const std::string answer = read_all(unwanted);
    CHECK(answer.starts_with("HTTP/1.1 507 "));
}

TEST_CASE("pipelined requests are answered in order") {
    Fixture f;
    auto raw = f.raw();
    say(raw,
        "GET /hello/1 HTTP/1.1\r\nHost: x\r\n\r\nPOST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: "
        "3\r\n\r\ntwo"
        "GET /stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    const std::string all = read_all(raw);
    CHECK(count(all, "HTTP/1.1 200 OK") == 3);
    CHECK(all.find("hello 1") < all.find("two"));
    CHECK(all.ends_with("6\r\npart0\n\r\n6\r\npart1\n\r\n6\r\npart2\n\r\n0\r\n\r\n"));
}

TEST_CASE("HTTP/1.0 gets no chunks") {
    Fixture f;
    auto raw = f.raw();
    say(raw, "GET /stream HTTP/1.0\r\n\r\n");
    CHECK(read_all(raw).ends_with("\r\n\r\npart0\npart1\npart2\n"));
}

TEST_CASE("files are sent with ranges, dates and HEAD, and nothing but regular files") {
    Fixture f;
    std::string content(300000, '\0');
    for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>('a' + i % 26);
    REQUIRE(replace_file(f.folder.path() / "image.bin", content));
    REQUIRE(replace_file(f.folder.path() / "empty", ""));
    Client client(f.address());
    const auto get = [&](std::string range, std::string target = "/file/image.bin",
                         std::string method = "GET") {
        ClientRequest request{.method = std::move(method), .target = std::move(target)};
        if (!range.empty()) request.headers.emplace_back("Range", std::move(range));
        auto response = client.send(request);
        REQUIRE(response);
        return *response;
    };
    CHECK(get("").body == content);
    CHECK(get("").header("last-modified") != "");
    CHECK(get("", "/file/image.bin", "HEAD").header("content-length") == "300000");
    CHECK(get("", "/file/image.bin", "HEAD").body.empty());
    CHECK(get("bytes=10-19").status == 206);
    CHECK(get("bytes=10-19").body == content.substr(10, 10));
    CHECK(get("bytes=10-19").header("content-range") == "bytes 10-19/300000");
    CHECK(get("bytes=299990-").body == content.substr(299990));
    CHECK(get("bytes=-5").body == content.substr(299995));
    CHECK(get("bytes=299999-999999999").body.size() == 1);
    CHECK(get("bytes=300000-").status == 416);
    CHECK(get("bytes=300000-").header("content-range") == "bytes */300000");
    for (const std::string whole :
         {"bytes=5-3", "bytes=x", "lines=1-2", "bytes=0-1,4-5", "bytes=-"}) {
        INFO(whole);
        CHECK(get(whole).status == 200);
    }
    CHECK(get("", "/file/empty").status == 200);
    CHECK(get("bytes=-1", "/file/empty").status == 416);
    CHECK(get("", "/file/none").status == 404);
    CHECK(get("", "/file/..%2fetc").status == 404);
    CHECK(f.get("/file/").status == 404);  // the folder itself
    ClientRequest again{.target = "/file/image.bin"};
    again.headers.emplace_back("If-Modified-Since", get("").header("last-modified"));
    CHECK(client.send(again)->status == 304);
    ClientRequest changed{.target = "/file/image.bin"};
    changed.headers = {{"Range", "bytes=0-1"}, {"If-Range", "Mon, 01 Jan 2001 00:00:00 GMT"}};
    CHECK(client.send(changed)->status == 200);
}

TEST_CASE("a unix socket is private, a stale one is replaced, a live one is not") {
    TemporaryFolder folder;
    const std::string path = folder.path() / "control.sock";
    {
        // What a killed process leaves: a socket file that nobody listens on.
        auto stale = listen_on(*Address::parse("unix:" + path));
        REQUIRE(stale);
    }
    REQUIRE(fs::exists(path));
    Server server(routes(folder.path()));
    REQUIRE(server.listen("unix:" + path));
    struct stat info {};
    REQUIRE(::stat(path.c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
    Client client("unix:" + path);
    CHECK(client.send({.target = "/peer"})->body == "unix unix");
    Server second(routes(folder.path()));
    CHECK(second.listen("unix:" + path).error().kind == ErrorKind::conflict);
    REQUIRE(replace_file(folder.path() / "plain", "x"));
    CHECK(second.listen("unix:" + (folder.path() / "plain").string()).error().kind ==
          ErrorKind::conflict);
    CHECK(second.listen("unix:/" + std::string(200, 'x')).error().kind == ErrorKind::invalid);
    CHECK(second.listen("somewhere").error().kind == ErrorKind::invalid);
    server.stop();
    CHECK_FALSE(fs::exists(path));
    CHECK(client.send({.target = "/peer"}).error().kind == ErrorKind::unavailable);
}

TEST_CASE("IPv6 works like IPv4") {
    TemporaryFolder folder;
    Server server(routes(folder.path()));
    const auto listening = server.listen("[::1]:0");
    if (!listening) return;  // this host has no IPv6 loopback
    Client client("http://[::1]:" + std::to_string(server.port()));
    CHECK(client.send({.target = "/peer"})->body == "::1 [::1]:" + std::to_string(server.port()));
}

TEST_CASE("stop ends idle connections and long polls at once") {
    Fixture f({.idle_timeout = 600s});
    auto idle = f.raw();
    auto half = f.raw();
    say(half, "GET /hello/x HT");
    auto waiting = f.raw();
    say(waiting, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    Client client(f.address());
    REQUIRE(client.send({.target = "/hello/x"}));
    const auto before = std::chrono::steady_clock::now();
    f.server->stop();
    CHECK(std::chrono::steady_clock::now() - before < 3s);
    CHECK(read_all(idle).empty());
    CHECK(client.send({.target = "/hello/x"}).error().kind == ErrorKind::unavailable);
}

TEST_CASE("a handler learns that its peer is gone") {
    std::atomic<bool> entered{false};
    std::atomic<bool> left{false};
    std::vector<Route> all;
    all.push_back({"GET", "/wait", [&](Request& r) {
                       entered = true;
                       while (!r.should_end()) std::this_thread::sleep_for(5ms);
                       left = true;
                       return Response{};
                   }});
    Server server(std::move(all));
    REQUIRE(server.listen("127.0.0.1:0"));
    SocketStream stream(
        *connect_to(*Address::parse("127.0.0.1:" + std::to_string(server.port())), 5s));
    say(stream, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    const auto deadline = std::chrono::steady_clock::now() + 20s;
    while (!entered) REQUIRE(std::chrono::steady_clock::now() < deadline);
    stream.close();
    while (!left) REQUIRE(std::chrono::steady_clock::now() < deadline);
}

TEST_CASE("the guard before handlers can answer in their place, before a body is read") {
    ServerOptions options;
    options.before = [](const Request& r, const Route&) {
        Response response;
        response.status = r.header("authorization") == "Bearer x" ? 0 : 401;
        return response;
    };
    Fixture f(std::move(options));
    Client client(f.address());
    CHECK(client.send({.target = "/hello/x"})->status == 401);
    ClientRequest request{.target = "/hello/x"};
    request.headers.emplace_back("Authorization", "Bearer x");
    CHECK(client.send(request)->status == 200);
}

TEST_CASE("nothing a handler or caller puts into a header can add another") {
    std::vector<Route> all;
    all.push_back({"GET", "/", [](Request&) {
                       Response response;
                       response.headers.emplace_back("X-Name", "a\r\nX-Evil: 1");
                       return response;
                   }});
    Server server(std::move(all));
    REQUIRE(server.listen("127.0.0.1:0"));
    Client client("127.0.0.1:" + std::to_string(server.port()));
    const auto response = client.send({.target = "/"});
    REQUIRE(response);
    CHECK(response->header("x-evil").empty());
    ClientRequest evil{.target = "/"};
    evil.headers.emplace_back("X", "a\r\nY: b");
    CHECK(client.send(evil).error().kind == ErrorKind::invalid);
    CHECK(client.send({.target = "/a b"}).error().kind == ErrorKind::invalid);
}

TEST_CASE("problems quote what they are given") {
    const Response made =
        problem(409, "image-in-use", "In use", "say \"who\"\n", "\"blocked_by\":[1]");
    CHECK(made.body ==
          "{\"type\":\"image-in-use\",\"title\":\"In use\",\"status\":409,"
          "\"detail\":\"say \\\"who\\\"\\n\",\"blocked_by\":[1]}");
    CHECK(problem(Error{ErrorKind::exhausted, "full", 0}).status == 507);
    CHECK(problem(Error{ErrorKind::not_found, "none", 0}).body.find("\"not-found\"") !=
          std::string::npos);
}
