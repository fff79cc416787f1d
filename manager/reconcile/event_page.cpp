#include "manager/reconcile/event_page.hpp"

#include <fmt/format.h>

#include <charconv>

#include "common/clean_text.hpp"
#include "common/json.hpp"

namespace goldlink::manager {
namespace {

constexpr std::string_view kHead = "{\"events\":[", kTail = "],\"next\":";
// How an event begins (EventLog::append). Within a string its quotes would be escaped.
constexpr std::string_view kNextEvent = ",{\"seq\":";

void take(EventPage& page, Result<SourceEvent> event) {
    if (event)
        page.events.push_back(std::move(*event));
    else
        page.left_out.push_back(std::move(event).error().message);
}

Result<EventPage> take_all(const json::object& object) {
    EventPage page;
    GOLDLINK_TRY_ASSIGN(page.next, json::int_field(object, "next", 0, INT64_MAX));
    GOLDLINK_TRY_ASSIGN(const json::array items, json::array_field(object, "events", 20'000));
    for (const json::value& item : items) take(page, parse_source_event(json::serialize(item)));
    return page;
}

// Of a page that is not what it should be: each event by itself.
Result<EventPage> take_apart(std::string_view body, const Error& why) {
    const std::size_t tail = body.rfind(kTail);
    if (!body.starts_with(kHead) || tail == std::string_view::npos) return Failure(why);
    EventPage page;
    const std::string_view number = body.substr(tail + kTail.size());
    const auto [end, error] =
        std::from_chars(number.data(), number.data() + number.size(), page.next);
    if (error != std::errc() || page.next < 0 || end == number.data() + number.size() ||
        *end != '}')
        return Failure(why);
    std::string_view rest = body.substr(kHead.size(), tail - kHead.size());
    while (!rest.empty()) {
        const std::size_t next = rest.find(kNextEvent);
        take(page, parse_source_event(rest.substr(0, next)));
        rest.remove_prefix(next == std::string_view::npos ? rest.size() : next + 1);
    }
    return page;
}

}  // namespace

Result<EventPage> parse_event_page(std::string_view body) {
    const std::string text = as_utf8(std::string(body));
    const auto object = json::parse_object(text);
    if (!object) return take_apart(text, object.error());
    auto page = take_all(*object);
    return page ? std::move(page) : take_apart(text, page.error());
}

}  // namespace goldlink::manager
