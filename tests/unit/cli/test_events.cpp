#include <catch2/catch.hpp>
#include <vector>

#include "manager/cli/sse.hpp"

using goldlink::cli::SseParser;

namespace {

std::vector<std::string> parse_in_steps(const std::string& stream, std::size_t step) {
    SseParser parser;
    std::vector<std::string> events;
    for (std::size_t at = 0; at < stream.size(); at += step)
        CHECK(parser.feed(std::string_view(stream).substr(at, step),
                          [&](const SseParser::Event& event) {
                              events.push_back(event.id + "=" + event.data);
                              return true;
                          }));
    return events;
}

}  // namespace

TEST_CASE("server-sent events are the same wherever the bytes are cut") {
    const std::string stream =
        ": hello\n\nid: 7\ndata: {\"a\":1}\n\n: keep-alive\n\nid:8\r\ndata: x\r\ndata: "
        "y\r\n\r\nevent: z\n\nid: 9\ndata\n\n";
    const std::vector<std::string> expected{"7={\"a\":1}", "8=x\ny", "9="};
    for (std::size_t step = 1; step <= stream.size(); ++step)
        CHECK(parse_in_steps(stream, step) == expected);
}

TEST_CASE("an event without data is none, and the consumer can stop") {
    SseParser parser;
    int events = 0;
    CHECK_FALSE(parser.feed("id: 1\n\ndata: a\n\ndata: b\n\n", [&](const SseParser::Event& event) {
        ++events;
        CHECK(event.data == "a");
        return false;
    }));
    CHECK(events == 1);
}

TEST_CASE("an event that never ends is refused") {
    SseParser parser;
    const std::string chunk = "data: " + std::string(100'000, 'x') + "\n";
    bool accepted = true;
    int chunks = 0;
    for (; accepted && chunks < 20; ++chunks)
        accepted = parser.feed(chunk, [](const SseParser::Event&) { return true; });
    CHECK_FALSE(accepted);
    CHECK(chunks == 11);
}
