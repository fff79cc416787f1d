#include "manager/reconcile/boot_stages.hpp"

#include <fmt/format.h>

#include "common/clean_text.hpp"
#include "common/hex.hpp"
#include "common/json.hpp"

namespace goldlink::manager {
namespace {

constexpr std::size_t kMaxText = 500;

std::string text_of(const json::object& o, std::string_view name) {
    const json::value* value = o.if_contains(name);
    if (value == nullptr) return "";
    if (value->is_string()) return clean_text(std::string_view(value->as_string()), kMaxText);
    if (value->is_number()) return json::serialize(*value);
    return "";
}

std::string uuid_of(const json::object& o, std::string_view name) {
    std::string text = text_of(o, name);
    return is_uuid(text) ? text : "";
}

std::string sent_file(const SourceEvent& event) {
    if (event.bytes > 0) return fmt::format("{}, {} bytes", event.file, event.bytes);
    return event.file;
}

}  // namespace

Result<SourceEvent> parse_source_event(std::string_view item_json) {
    GOLDLINK_TRY_ASSIGN(const json::object item, json::parse_object(item_json));
    SourceEvent event;
    GOLDLINK_TRY_ASSIGN(event.seq, json::int_field(item, "seq", 0, INT64_MAX));
    GOLDLINK_TRY_ASSIGN(event.time, json::string_field(item, "time", 20, 40));
    GOLDLINK_TRY_ASSIGN(event.kind, json::string_field(item, "kind", 1, 64));
    event.mac = text_of(item, "mac");
    event.client_id = uuid_of(item, "client_id");
    event.link_id = uuid_of(item, "link_id");
    event.boot_id = uuid_of(item, "boot_id");
    GOLDLINK_TRY_ASSIGN(event.generation, json::optional_int(item, "generation", 0, INT64_MAX));
    json::object data;
    if (const json::value* given = item.if_contains("data"); given != nullptr && given->is_object())
        data = given->as_object();
    event.arch = text_of(data, "arch");
    event.address = text_of(data, "address");
    event.stage = text_of(data, "stage");
    event.why = text_of(data, "why");
    event.file = text_of(data, "file");
    if (const auto bytes = json::optional_int(data, "bytes", 0, INT64_MAX); bytes)
        event.bytes = bytes->value_or(0);
    if (event.link_id.empty()) event.link_id = uuid_of(data, "link_id");
    if (!event.generation)
        if (const json::value* number = data.if_contains("generation");
            number != nullptr && number->is_int64())
            event.generation = number->as_int64();
    if (!event.mac.empty()) data["mac"] = event.mac;
    if (event.generation) data["generation"] = *event.generation;
    event.data_json = json::serialize(data);
    return event;
}

std::optional<BootStep> boot_step(const SourceEvent& event) {
    using Outcome = BootStep::Outcome;
    const std::string& kind = event.kind;
    if (kind == "dhcp_discover") {
        if (event.stage == "ipxe") return BootStep{"ipxe", event.arch, Outcome::goes_on, "", true};
        return BootStep{"dhcp", event.arch, Outcome::goes_on, "", true};
    }
    if (kind == "nbp_sent") return BootStep{"nbp", sent_file(event), Outcome::goes_on, "", true};
    if (kind == "script") return BootStep{"script", event.address, Outcome::goes_on, "", true};
    if (kind == "client_unknown")
        return BootStep{"script", "not in the room yet: shown the menu", Outcome::ended, "", true};
    if (kind == "local_boot")
        return BootStep{"script", "left to its local disk", Outcome::ended, "", true};
    if (kind == "boot_refused" || kind == "ipxe_failed")
        return BootStep{"", "", Outcome::failed, event.why.empty() ? kind : event.why, true};
    if (kind == "login") return BootStep{"login", event.address, Outcome::goes_on, "", true};
    if (kind == "os_login") return BootStep{"os_login", event.address, Outcome::running, "", true};
    if (kind == "first_write") return BootStep{"first_write", "", Outcome::goes_on, "", false};
    // Without a boot it is the generation that a link had before any machine booted it.
    if (kind == "generation_end" && !event.boot_id.empty())
        return BootStep{"end", "its disk was replaced", Outcome::ended, "", false};
    return std::nullopt;
}

}  // namespace goldlink::manager
