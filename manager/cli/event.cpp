// goldlink events: what happened, and what happens now.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <thread>

#include "common/json.hpp"
#include "manager/cli/connect.hpp"
#include "manager/cli/sse.hpp"
#include "manager/cli/text.hpp"

namespace goldlink::cli {

namespace {

constexpr std::chrono::milliseconds kFirstRetry{250};
constexpr std::chrono::milliseconds kSlowestRetry{5000};
constexpr std::int64_t kPageLimit = 1000;

struct Arguments {
    std::int64_t after = 0;
    std::string client;
    bool follow = false;
};

void print_event(const Session& session, const json::value& event) {
    if (session.json) {
        print_json(event);
        return;
    }
    std::string data;
    if (const auto* object = member(event, "data"); object != nullptr && object->is_object())
        for (const auto& [name, value] : object->as_object())
            if (!value.is_null())
                data += fmt::format(
                    "{}{}={}", data.empty() ? "" : " ", std::string_view(name),
                    value.is_string() ? std::string(value.as_string()) : json::serialize(value));
    std::string subject = text_of(event, "client");
    if (subject.empty()) subject = text_of(event, "link_id").substr(0, 8);
    print(fmt::format("{:>6}  {}  {:<14} {:<14} {}\n", int_of(event, "id"),
                      format_time(text_of(event, "time")), printable(text_of(event, "kind")),
                      subject.empty() ? "-" : printable(subject), printable(data)));
}

// All pages after `after`; returns where the next one would begin.
Result<std::int64_t> print_past(const Session& session, Api& api, const Arguments& arguments) {
    std::int64_t after = arguments.after;
    for (;;) {
        GOLDLINK_TRY_ASSIGN(auto page,
                            api.get("/events" + query({{"after", std::to_string(after)},
                                                       {"client", arguments.client},
                                                       {"limit", std::to_string(kPageLimit)}})));
        const auto& events = items_of(page, "items");
        for (const auto& event : events) print_event(session, event);
        const auto next = int_of(page, "next", after);
        if (events.empty() || next <= after) return std::max(next, after);
        after = next;
    }
}

// Prints events as they come, over reconnects; ends with an error that waiting cannot mend, or with
// Ctrl-C.
Result<> follow(const Session& session, Api& api, const Arguments& arguments, std::int64_t after) {
    auto pause = kFirstRetry;
    for (;;) {
        SseParser parser;
        auto ended = api.stream(
            "/events" + query({{"after", std::to_string(after)}, {"client", arguments.client}}),
            after, [&](std::string_view bytes) {
                return parser.feed(bytes, [&](const SseParser::Event& event) {
                    auto body = goldlink::json::parse(event.data);
                    if (!body) return true;
                    after = std::max(after, int_of(*body, "id"));
                    print_event(session, *body);
                    std::fflush(stdout);
                    pause = kFirstRetry;
                    return std::ferror(stdout) == 0;
                });
            });
        if (std::ferror(stdout) != 0)
            return failure(ErrorKind::io, "cannot write the events to stdout");
        if (!ended && ended.error().kind != ErrorKind::unavailable &&
            ended.error().kind != ErrorKind::timeout)
            return ended;
        std::this_thread::sleep_for(pause);
        pause = std::min(pause * 2, kSlowestRetry);
    }
}

Result<> show_events(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(const auto after, print_past(session, api, arguments));
    if (!arguments.follow) return {};
    std::fflush(stdout);
    return follow(session, api, arguments, after);
}

}  // namespace

void add_event_verbs(CLI::App& root, Session& session) {
    const auto arguments = std::make_shared<Arguments>();
    auto* events =
        add_verb(root, session,
                 {"events", "Show what happened; --follow shows what happens",
                  "With --json one event a line.",
                  "goldlink events --client PC-001\ngoldlink events --follow\n"
                  "goldlink events --follow --json | jq 'select(.kind == \"login_refused\")'"},
                 [&session, arguments] { return show_events(session, *arguments); });
    events->add_option("--after", arguments->after, "Only events with a greater id")
        ->type_name("ID")
        ->check(CLI::NonNegativeNumber);
    events->add_option("--client", arguments->client, "Only those of a client")->type_name("NAME");
    events->add_flag("--follow", arguments->follow, "Go on with events as they happen");
}

}  // namespace goldlink::cli
