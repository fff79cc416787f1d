// A page of a daemon's events: one bad event costs that event.
#include <catch2/catch.hpp>

#include "manager/reconcile/event_page.hpp"

using namespace goldlink;
using namespace goldlink::manager;

namespace {

std::string event(int seq, std::string_view more = "") {
    return "{\"seq\":" + std::to_string(seq) +
           R"(,"time":"2026-11-21T09:00:00.000Z","kind":"login")" + std::string(more) + "}";
}
std::string page_of(std::initializer_list<std::string> events, int next) {
    std::string text = "{\"events\":[";
    for (const std::string& one : events) text += (text.back() == '[' ? "" : ",") + one;
    return text + "],\"next\":" + std::to_string(next) + "}";
}
std::vector<std::int64_t> seqs(const EventPage& page) {
    std::vector<std::int64_t> all;
    for (const SourceEvent& one : page.events) all.push_back(one.seq);
    return all;
}

}  // namespace

TEST_CASE("events: bytes that are no UTF-8 are replaced, and the page is read") {
    const auto page = parse_event_page(page_of({event(1),
                                                event(2, R"(,"data":{"why":"iqn.evil:)"
                                                         "\xff\xfe"
                                                         R"("})"),
                                                event(3)},
                                               3));
    REQUIRE(page);
    CHECK(seqs(*page) == std::vector<std::int64_t>{1, 2, 3});
    CHECK(page->events[1].why == "iqn.evil:\xef\xbf\xbd\xef\xbf\xbd");
    CHECK(page->left_out.empty());
    CHECK(page->next == 3);
}

TEST_CASE("events: a bad one is left out with its reason, those after it are read") {
    for (const std::string bad :
         {R"({"seq":2,"time":"x","kind":"login"})", R"({"seq":2,"time":7,"kind":"login"})",
          R"({"seq":2,"ti)", R"({"seq":2,"kind":"un"quoted","time":"2026-11-21T09:00:00.000Z"})",
          R"({"seq":2,"kind":"open)", R"({"seq":2,"data":[1,2})",
          "{\"seq\":2,\"kind\":\"a\nb\"}"}) {
        INFO(bad);
        const auto page = parse_event_page(page_of({event(1), bad, event(3), event(4)}, 4));
        REQUIRE(page);
        CHECK(seqs(*page) == std::vector<std::int64_t>{1, 3, 4});
        CHECK(page->left_out.size() == 1);
        CHECK(page->next == 4);
    }
}

TEST_CASE("events: what does not say where the next page begins is no page") {
    for (const std::string bad :
         {"", "x", "{}", R"({"events":[]})", R"({"events":[{"seq":1],"next":)",
          R"({"events":[{"seq":1],"next":x})", R"({"events":[{"seq":1],"next":-4})"})
        CHECK_FALSE(parse_event_page(bad));
    const auto empty = parse_event_page(R"({"events":[],"next":9})");
    REQUIRE(empty);
    CHECK(empty->next == 9);
}
