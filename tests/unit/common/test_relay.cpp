// Bodies that go on from one connection to another, both ways, and what ends them early.
#include <sys/resource.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <catch2/catch.hpp>
#include <thread>

#include "common/file.hpp"
#include "common/http/client.hpp"
#include "common/http/relay.hpp"
#include "common/http/server.hpp"
#include "common/http/socket_stream.hpp"
#include "tests/unit/common/plain_text.hpp"
#include "tests/unit/temporary_folder.hpp"

using namespace goldlink;
using namespace goldlink::http;
constexpr auto text = goldlink::test::plain_text;
using namespace std::chrono_literals;

namespace {

std::string pattern(std::size_t size) {
    std::string bytes(size, '\0');
    std::uint32_t state = 1;
    for (char& c : bytes) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
    return bytes;
}

Result<std::string> whole(BodyReader& body) {
    std::string all;
    char buffer[50000];
    for (;;) {
        GOLDLINK_TRY_ASSIGN(const std::size_t n, body.read(buffer));
        if (n == 0) return all;
        all.append(buffer, n);
    }
}

// A server behind a unix socket, and one before it that passes all bodies on.
struct Relays {
    test::TemporaryFolder folder;
    std::unique_ptr<Server> inner, outer;
    std::string inner_address = "unix:" + (folder.path() / "inner.sock").string();
    std::atomic<int> failed_sources{0};

    Relays() {
        std::vector<Route> behind;
        behind.push_back({"PUT", "/back",
                          [](Request& r) {
                              auto all = whole(*r.body_reader);
                              return all ? text(std::move(*all)) : problem(all.error());
                          },
                          0, true});
        behind.push_back({"PUT", "/refuse",
                          [](Request& r) {
                              char some[1000];
                              if (const auto n = r.body_reader->read(some); !n)
                                  return problem(n.error());
                              return problem(507, "no-space", "No space", "full");
                          },
                          0, true});
        behind.push_back({"GET", "/file/{path...}", [this](Request& r) {
                              Response response;
                              response.file_path = folder.path() / r.params.at("path");
                              return response;
                          }});
        behind.push_back({"GET", "/cut", [](Request&) {
                              Response response;
                              response.stream = [](BodyWriter& out) {
                                  if (!out.write("some")) return;
                                  throw std::runtime_error("the disk failed");
                              };
                              return response;
                          }});
        inner = std::make_unique<Server>(std::move(behind));
        REQUIRE(inner->listen(inner_address));
        std::vector<Route> before;
        before.push_back(
            {"PUT", "/to/{route}", [this](Request& r) { return pass_on(r); }, 0, true});
        before.push_back({"GET", "/from/{path...}", [this](Request& r) { return bring(r); }});
        outer = std::make_unique<Server>(std::move(before));
        REQUIRE(outer->listen("127.0.0.1:0"));
    }

    Response pass_on(Request& r) {
        Client client(inner_address);
        const auto answer = client.send(
            {.method = "PUT", .target = "/" + r.params.at("route"), .body_source = r.body_reader});
        if (!answer) {
            ++failed_sources;
            return problem(answer.error());
        }
        Response response = text(answer->body);
        response.status = answer->status;
        return response;
    }

    Response bring(Request& r) const {
        Response response;
        response.stream = [this, path = r.params.at("path")](BodyWriter& out) {
            Client client(inner_address);
            if (!client.send({.target = "/" + path, .body_to = &out})) out.break_off();
        };
        return response;
    }

    std::string address() const { return "127.0.0.1:" + std::to_string(outer->port()); }

    Result<ClientResponse> put(const std::string& route, const std::string& body) const {
        Client client(address());
        return client.send({.method = "PUT", .target = "/to/" + route, .body = body});
    }
    // A connection on which a body of `declared` bytes has begun, with `sent` bytes of it.
    SocketStream begun(const std::string& route, std::uint64_t declared, std::size_t sent) const {
        auto fd = connect_to(*Address::parse(address()), 5s);
        REQUIRE(fd);
        SocketStream stream(std::move(*fd));
        stream.set_step_timeout(20s);
        boost::system::error_code error;
        stream.write_all("PUT /to/" + route + " HTTP/1.1\r\nHost: x\r\nContent-Length: " +
                             std::to_string(declared) + "\r\n\r\n",
                         std::string(sent, 'x'), "", error);
        REQUIRE(!error);
        return stream;
    }
};

std::string read_some(SocketStream& stream) {
    char buffer[4096];
    boost::system::error_code error;
    const std::size_t n = stream.read_some(boost::asio::buffer(buffer), error);
    return error ? error.message() : std::string(buffer, n);
}

}  // namespace

TEST_CASE("bodies of any size are passed on unchanged, both ways") {
    Relays relays;
    for (const std::size_t size : {1U, 511U, 65536U, 1000001U, 9U << 20}) {
        const std::string body = pattern(size);
        const auto back = relays.put("back", body);
        REQUIRE(back);
        CHECK(back->status == 200);
        CHECK((back->body == body));
        REQUIRE(replace_file(relays.folder.path() / "version.raw", body));
        Client client(relays.address());
        const auto there = client.send({.target = "/from/file/version.raw"});
        REQUIRE(there);
        CHECK((there->body == body));
        std::string sunk;
        const auto sink = [&sunk](std::string_view bytes) {
            sunk += bytes;
            return true;
        };
        REQUIRE(client.send({.target = "/from/file/version.raw", .on_data = sink}));
        CHECK((sunk == body));
    }
    const auto none = relays.put("back", "");
    REQUIRE(none);
    CHECK(none->status == 200);
    CHECK(none->body.empty());
}

TEST_CASE("bytes go by way of memory where there are no descriptors for a pipe") {
    std::array<int, 2> in{}, out{};
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, in.data()) == 0);
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, out.data()) == 0);
    SocketStream sender{FileDescriptor(in[0])}, from{FileDescriptor(in[1])};
    SocketStream to{FileDescriptor(out[0])}, receiver{FileDescriptor(out[1])};
    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
    boost::system::error_code error, to_error;
    sender.write_all("twelve bytes", "", "", error);
    const rlimit none{0, before.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
    Relay relay;
    const std::size_t moved = relay.move(from, to, 6, error, to_error);
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
    CHECK(moved == 6);
    CHECK(read_some(receiver) == "twelve");
    CHECK(relay.move(from, to, 100, error, to_error) == 6);
    CHECK(read_some(receiver) == " bytes");
    sender.close();
    CHECK(relay.move(from, to, 100, error, to_error) == 0);
    CHECK(error == boost::asio::error::eof);
}

TEST_CASE("a refusal reaches a sender that has stopped within its body") {
    Relays relays;
    for (int round = 0; round < 20; ++round) {
        auto stream = relays.begun("refuse", 1 << 30, 100'000);
        CHECK(read_some(stream).starts_with("HTTP/1.1 507 "));
    }
    CHECK(relays.failed_sources == 0);
}

TEST_CASE("a sender that leaves ends what was passed on") {
    Relays relays;
    { auto stream = relays.begun("back", 1 << 20, 1000); }
    const auto end = std::chrono::steady_clock::now() + 20s;
    while (relays.failed_sources == 0 && std::chrono::steady_clock::now() < end)
        std::this_thread::sleep_for(5ms);
    CHECK(relays.failed_sources == 1);
}

TEST_CASE("a response that breaks off does not look whole to whom it is passed on") {
    Relays relays;
    Client client(relays.address());
    std::string seen;
    const auto sink = [&seen](std::string_view bytes) {
        seen += bytes;
        return true;
    };
    const auto answer = client.send({.target = "/from/cut", .on_data = sink});
    CHECK(seen == "some");
    REQUIRE(!answer);
    CHECK(answer.error().kind == ErrorKind::unavailable);
}
