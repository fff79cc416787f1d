// GET /events: a page, or a stream of Server-Sent Events that goes on from Last-Event-ID.
#include <fmt/format.h>

#include <charconv>

#include "manager/api/input.hpp"
#include "manager/api/views.hpp"
#include "manager/db/history.hpp"
#include "manager/db/tokens.hpp"

namespace goldlink::manager::api {
namespace {

constexpr std::chrono::seconds kHeartbeat{15};
constexpr int kStreamBatch = 200;

Maybe<std::optional<std::int64_t>> event_id(const std::string& text, const std::string& field) {
    if (text.empty()) return std::optional<std::int64_t>();
    std::int64_t id = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
    if (error != std::errc() || end != text.data() + text.size() || id < 0)
        return refuse_field(field, fmt::format("{} is the id of an event, a number", field));
    return std::optional(id);
}

struct Subscription {
    std::int64_t after = 0;
    std::optional<std::string> client;
    std::string token_sha256;
};

// Writes what is new; false when the peer is gone.
bool write_events(http::BodyWriter& out, const std::vector<db::Event>& events,
                  std::int64_t& after) {
    std::string text;
    for (const db::Event& event : events) {
        text += fmt::format("id: {}\ndata: {}\n\n", event.id, json::serialize(view(event)));
        after = event.id;
    }
    return text.empty() || out.write(text).has_value();
}

// Runs on the connection's thread until the peer goes, the server stops or the token is revoked.
// While the database is down only heartbeats go out; afterwards the stream goes on where it was.
void stream(Services& services, Subscription subscription, http::BodyWriter& out) {
    Watch& watch = services.watch;
    if (!out.write("retry: 1000\n\n")) return;
    auto beat = std::chrono::steady_clock::now();
    std::optional<std::uint64_t> told;  // up to this change of the topic everything was written
    while (!out.stopping() && !watch.stopping()) {
        const std::uint64_t seen = watch.count(Topic::events);
        if (told != seen && !watch.problem()) {
            const auto events = services.pool.run([&](db::Connection& c) {
                return db::list_events(c, subscription.after, subscription.client, kStreamBatch);
            });
            if (events && !write_events(out, *events, subscription.after)) return;
            if (events && events->size() == kStreamBatch) continue;
            if (events) told = seen;
        }
        if (std::chrono::steady_clock::now() - beat >= kHeartbeat) {
            beat = std::chrono::steady_clock::now();
            if (!out.write(": still here\n\n")) return;
            const auto token = services.pool.run(
                [&](db::Connection& c) { return db::use_token(c, subscription.token_sha256); });
            if (token && !*token) return;
        }
        watch.wait(Topic::events, seen, std::chrono::milliseconds(500));
    }
}

Answer events(Call& call) {
    GOLDLINK_TRY_CALL(const Page page, page_of(call, true));
    GOLDLINK_TRY_CALL(auto after, event_id(call.request.query_value("after"), "after"));
    std::optional<std::string> client;
    if (const std::string name = call.request.query_value("client"); !name.empty()) client = name;

    if (call.request.header("accept").find("text/event-stream") == std::string::npos) {
        GOLDLINK_TRY_ASSIGN(const auto rows, call.services.pool.run([&](db::Connection& c) {
            return db::list_events(c, after.value_or(0), client, page.limit);
        }));
        json::array items;
        for (const db::Event& event : rows) items.push_back(view(event));
        const std::int64_t next = rows.empty() ? after.value_or(0) : rows.back().id;
        return json_response(200, json::object{{"items", std::move(items)}, {"next", next}});
    }

    // What a reconnecting reader last saw counts more than where it once began.
    GOLDLINK_TRY_CALL(const auto last,
                      event_id(call.request.header("last-event-id"), "Last-Event-ID"));
    if (last) after = last;
    if (!after) {
        GOLDLINK_TRY_ASSIGN(
            after, call.services.pool.run([](db::Connection& c) { return db::last_event_id(c); }));
    }
    Subscription subscription{*after, client, call.token_sha256};
    http::Response response;
    response.content_type = "text/event-stream";
    response.stream = [&services = call.services, subscription](http::BodyWriter& out) {
        stream(services, subscription, out);
    };
    return response;
}

}  // namespace

void add_event_routes(Table& table) {
    table.push_back({"GET", "/events", kRead, {"after", "limit", "client"}, events});
}

}  // namespace goldlink::manager::api
