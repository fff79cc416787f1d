// An HTTP server with routes of all kinds, and bare connections to it.
#pragma once

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <thread>

#include "common/file.hpp"
#include "common/hex.hpp"
#include "common/http/client.hpp"
#include "common/http/server.hpp"
#include "common/http/socket_stream.hpp"
#include "tests/unit/common/plain_text.hpp"
#include "tests/unit/temporary_folder.hpp"

namespace goldlink::test {

using namespace goldlink::http;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

inline std::vector<Route> routes(const fs::path& folder) {
    std::vector<Route> all;
    all.push_back({"GET", "/hello/{name}",
                   [](Request& r) { return plain_text("hello " + r.params.at("name")); }});
    all.push_back({"POST", "/echo", [](Request& r) { return plain_text(r.body); }, 100000});
    all.push_back({"PUT", "/count",
                   [](Request& r) {
                       char buffer[5000];
                       std::uint64_t total = 0;
                       for (;;) {
                           const auto n = r.body_reader->read(buffer);
                           if (!n) return problem(n.error());
                           if (*n == 0) break;
                           total += *n;
                       }
                       return plain_text(std::to_string(total) + " of " +
                                         std::to_string(r.body_reader->declared_length()));
                   },
                   0, true});
    all.push_back({"PUT", "/refuse",
                   [](Request&) { return problem(507, "no-space", "No space", "full"); }, 0, true});
    all.push_back({"GET", "/counted", [](Request& request) {  // says 1 MiB, and has `bytes`
                       Response response;
                       response.content_type = "application/octet-stream";
                       response.stream_bytes = 1 << 20;
                       const auto bytes = std::stoul(request.query_value("bytes"));
                       response.stream = [bytes](BodyWriter& out) {
                           for (std::size_t done = 0; done < bytes; done += 65536)
                               if (!out.write(std::string(65536, 'c'))) return;
                       };
                       return response;
                   }});
    all.push_back({"GET", "/stream", [](Request&) {
                       Response response;
                       response.stream = [](BodyWriter& out) {
                           for (int i = 0; i < 3; ++i)
                               if (!out.write("part" + std::to_string(i) + "\n")) return;
                       };
                       return response;
                   }});
    all.push_back({"GET", "/wait", [](Request& r) {
                       const auto end = std::chrono::steady_clock::now() + 60s;
                       while (!r.should_end() && std::chrono::steady_clock::now() < end)
                           std::this_thread::sleep_for(10ms);
                       return plain_text("ended");
                   }});
    all.push_back(
        {"GET", "/throw", [](Request&) -> Response { throw std::runtime_error("oops"); }});
    all.push_back({"GET", "/file/{path...}", [folder](Request& r) {
                       Response response;
                       response.content_type = "application/octet-stream";
                       response.file_path = folder / r.params.at("path");
                       return response;
                   }});
    all.push_back({"GET", "/peer", [](Request& r) { return plain_text(r.peer + " " + r.local); }});
    return all;
}

struct Fixture {
    TemporaryFolder folder;
    std::unique_ptr<Server> server;

    explicit Fixture(ServerOptions options = {}) {
        server = std::make_unique<Server>(routes(folder.path()), std::move(options));
        REQUIRE(server->listen("127.0.0.1:0"));
    }
    std::string address() const { return "127.0.0.1:" + std::to_string(server->port()); }
    SocketStream raw() const {
        auto fd = connect_to(*Address::parse(address()), 5s);
        REQUIRE(fd);
        SocketStream stream(std::move(*fd));
        stream.set_step_timeout(20s);
        return stream;
    }
    ClientResponse get(const std::string& target) const {
        Client client(address());
        auto response = client.send({.target = target});
        REQUIRE(response);
        return *response;
    }
};

inline void say(SocketStream& stream, std::string_view bytes) {
    boost::system::error_code error;
    stream.write_all(bytes, "", "", error);
}

// Everything until the peer closes.
inline std::string read_all(SocketStream& stream) {
    std::string all;
    char buffer[4096];
    boost::system::error_code error;
    for (;;) {
        const std::size_t n = stream.read_some(boost::asio::buffer(buffer), error);
        if (error == boost::asio::error::timed_out) FAIL("the server did not end the connection");
        if (error) return all;
        all.append(buffer, n);
    }
}

inline std::size_t count(const std::string& text, const std::string& part) {
    std::size_t n = 0;
    for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1))
        ++n;
    return n;
}

}  // namespace goldlink::test
