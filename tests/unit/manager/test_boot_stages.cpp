#include <catch2/catch.hpp>

#include "manager/reconcile/boot_stages.hpp"

using namespace goldlink;
using namespace goldlink::manager;

namespace {

SourceEvent event_of(std::string_view json) {
    auto event = parse_source_event(json);
    REQUIRE(event);
    return *event;
}

}  // namespace

TEST_CASE("boot stages: events of pxe and target in the order of a boot") {
    struct Row {
        std::string_view json, stage;
        BootStep::Outcome outcome;
        bool starts;
    };
    using Outcome = BootStep::Outcome;
    const Row rows[] = {
        {R"({"seq":1,"time":"2026-11-21T09:00:00.000Z","kind":"dhcp_discover","data":{"stage":"firmware","arch":"bios"}})",
         "dhcp", Outcome::goes_on, true},
        {R"({"seq":2,"time":"2026-11-21T09:00:01.000Z","kind":"nbp_sent","data":{"file":"undionly.kpxe","bytes":7}})",
         "nbp", Outcome::goes_on, true},
        {R"({"seq":3,"time":"2026-11-21T09:00:02.000Z","kind":"dhcp_discover","data":{"stage":"ipxe"}})",
         "ipxe", Outcome::goes_on, true},
        {R"({"seq":4,"time":"2026-11-21T09:00:03.000Z","kind":"script"})", "script",
         Outcome::goes_on, true},
        {R"({"seq":5,"time":"2026-11-21T09:00:04.000Z","kind":"login"})", "login", Outcome::goes_on,
         true},
        {R"({"seq":6,"time":"2026-11-21T09:00:05.000Z","kind":"os_login"})", "os_login",
         Outcome::running, true},
        {R"({"seq":7,"time":"2026-11-21T09:00:06.000Z","kind":"first_write"})", "first_write",
         Outcome::goes_on, false},
        {R"({"seq":8,"time":"2026-11-21T09:00:07.000Z","kind":"generation_end","boot_id":"7150357b-dedf-491e-abfa-dcca880a955a"})",
         "end", Outcome::ended, false},
        {R"({"seq":9,"time":"2026-11-21T09:00:08.000Z","kind":"boot_refused","data":{"why":"no disk"}})",
         "", Outcome::failed, true},
    };
    for (const Row& row : rows) {
        INFO(row.json);
        const auto step = boot_step(event_of(row.json));
        REQUIRE(step);
        CHECK(step->stage == row.stage);
        CHECK(step->outcome == row.outcome);
        CHECK(step->starts_boot == row.starts);
    }
    CHECK(boot_step(event_of(rows[8].json))->problem == "no disk");
    CHECK(boot_step(event_of(rows[1].json))->detail == "undionly.kpxe, 7 bytes");
    CHECK_FALSE(boot_step(
        event_of(R"({"seq":1,"time":"2026-11-21T09:00:00.000Z","kind":"space_warning"})")));
    // The generation that a link had before any machine booted it ends without a boot.
    CHECK_FALSE(boot_step(
        event_of(R"({"seq":1,"time":"2026-11-21T09:00:00.000Z","kind":"generation_end"})")));
}

TEST_CASE("boot stages: parsing keeps what is known and bounds the rest") {
    const SourceEvent event = event_of(
        R"({"seq":12,"time":"2026-11-21T09:00:00.000Z","kind":"login","link_id":"7150357b-dedf-491e-abfa-dcca880a955a",)"
        R"("boot_id":null,"generation":4,"data":{"address":"10.0.0.7:1","other":[1,2]}})");
    CHECK(event.link_id == "7150357b-dedf-491e-abfa-dcca880a955a");
    CHECK(event.boot_id.empty());
    CHECK(event.generation == 4);
    CHECK(event.data_json == R"({"address":"10.0.0.7:1","other":[1,2],"generation":4})");
    // What is no UUID would be refused by the database later and hold up the events behind it.
    CHECK(
        event_of(
            R"({"seq":1,"time":"2026-11-21T09:00:00.000Z","kind":"x","link_id":"none","boot_id":"'"})")
            .link_id.empty());
    for (const std::string_view bad :
         {"[]", "{}", R"({"seq":1})", R"({"seq":-1,"time":"2026-11-21T09:00:00Z","kind":"x"})",
          R"({"seq":1,"time":"x","kind":"login"})"})
        CHECK_FALSE(parse_source_event(bad));
}
