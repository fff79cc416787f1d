// Bytes of a peer on every way to where they are kept or shown: what we serialise, we parse.
#include <boost/json.hpp>

#include "common/bytes.hpp"
#include "common/check.hpp"
#include "common/clean_text.hpp"
#include "common/http/request_head.hpp"
#include "common/http/router.hpp"
#include "common/iscsi_name.hpp"
#include "common/json.hpp"
#include "manager/reconcile/event_page.hpp"
#include "target/control/unit_state_file.hpp"

using namespace goldlink;

namespace {

void try_json(std::string_view bytes) {
    const json::object o{{bytes, json::array{bytes}}};
    const auto parsed = json::parse_object(json::serialize(o));
    CHECK(parsed.has_value(), "what we serialise cannot be parsed");
    CHECK(json::serialize(*parsed) == json::serialize(o), "it comes back as something else");
}

void try_unit_state(std::string_view bytes) {
    if (bytes.empty() || bytes.size() > 243 || bytes.find('\0') != std::string_view::npos) return;
    scsi::PersistentUnit state;
    state.registrations.push_back({std::string(bytes), 1, 7, false, false});
    const auto kept = control::parse_unit_state(control::unit_state_text(state));
    CHECK(kept.has_value(), "a disk cannot be served for the name of an initiator");
    const auto again = control::parse_unit_state(control::unit_state_text(*kept));
    CHECK(again && *again == *kept, "a kept state changes by being kept");
}

void try_event_page(std::string_view bytes) {
    const std::string good = R"({"seq":8,"time":"2026-11-21T09:00:00.000Z","kind":"login"})";
    const auto page = manager::parse_event_page("{\"events\":[{\"seq\":7," + std::string(bytes) +
                                                "}," + good + "],\"next\":8}");
    CHECK(page && page->next == 8, "one bad event holds up those behind it");
    static_cast<void>(manager::parse_event_page(bytes));
}

void try_request(std::string_view bytes) {
    http::HeadEnd end;
    std::size_t given = 0;
    auto found = http::HeadEnd::Found::more;
    while (found == http::HeadEnd::Found::more && given < bytes.size())
        found = end.look(bytes.substr(0, ++given));
    http::HeadEnd at_once;
    CHECK(at_once.look(bytes) == found || bytes.empty(), "a head depends on how it arrives");
    if (found == http::HeadEnd::Found::end)
        static_cast<void>(http::head_fault(bytes.substr(0, end.head_bytes())));
    static_cast<void>(http::Target::parse(bytes));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view bytes = as_text({data, size});
    for (const Keep keep : {Keep::beginning, Keep::end}) {
        const std::string clean = clean_text(bytes, 100, keep);
        CHECK(clean.size() <= 100 && is_clean(clean), "text that is not clean");
    }
    if (is_iscsi_name(bytes)) CHECK(is_clean(bytes), "a name that must not be shown");
    try_json(bytes);
    try_unit_state(bytes);
    try_event_page(bytes);
    try_request(bytes);
    return 0;
}
