// JSON bodies of the control API: the definitions of links, alone and in a set, and the state file
// that a restart reads. What is accepted must survive being written and read again unchanged.
//
// Input: a byte that says which, then the text.
#include "common/bytes.hpp"
#include "common/check.hpp"
#include "common/json.hpp"
#include "target/control/link_state.hpp"

using namespace goldlink;
using namespace goldlink::control;

namespace {

void definition(const json::object& body) {
    const auto parsed = LinkDefinition::parse(body);
    if (!parsed) {
        CHECK(!parsed.error().message.empty(), "a refusal that says nothing");
        return;
    }
    CHECK(parsed->disks.size() <= kMaxDisksPerLink && parsed->credentials.size() <= kMaxCredentials,
          "more than the bounds allow");
    const auto again = LinkDefinition::parse(parsed->to_json(true));
    CHECK(again.has_value(), "what was accepted is not, written");
    CHECK(json::serialize(again->to_json(true)) == json::serialize(parsed->to_json(true)),
          "a definition changes by being written");
    static_cast<void>(parsed->to_json(false));
    plan_generation(*parsed, nullptr, 1, true);
}

void set(const json::object& body) {
    const auto links = json::array_field(body, "links", kMaxLinks);
    if (!links) return;
    for (const json::value& link : *links)
        if (link.is_object()) definition(link.get_object());
}

void state(const json::object& body) {
    const auto parsed = LinkState::parse(body);
    if (!parsed) return;
    const std::string text = json::serialize(parsed->to_json());
    const auto written = json::parse_object(text);
    CHECK(written.has_value(), "our own state file is no JSON");
    const auto again = LinkState::parse(*written);
    CHECK(again.has_value() && json::serialize(again->to_json()) == text,
          "a state changes by being written");
    plan_generation(parsed->definition, &parsed->current, parsed->next_number(), false);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const auto body = json::parse_object(as_text({data + 1, size - 1}));
    if (!body) return 0;
    switch (data[0] % 3) {
        case 0:
            definition(*body);
            break;
        case 1:
            set(*body);
            break;
        default:
            state(*body);
    }
    return 0;
}
