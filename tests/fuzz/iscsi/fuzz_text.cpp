// Text segments: parsing, numbers, binary values, and the negotiation of whatever was parsed.
#include "common/check.hpp"
#include "common/iscsi_name.hpp"
#include "target/iscsi/negotiation.hpp"

using namespace goldlink;
using namespace goldlink::iscsi;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text = as_text({data, size});
    const auto keys = parse_text(text);
    if (!keys) return 0;
    CHECK(keys->size() <= kMaxKeys, "more keys than the bound");
    for (const Stage stage : {Stage::security, Stage::operational, Stage::full_feature}) {
        Negotiation negotiation;
        std::string response;
        for (const KeyValue& pair : *keys) {
            if (negotiation.offer(pair, stage, response) == Negotiation::Outcome::repeated) break;
            parse_number(pair.value);
            if (const auto bytes = parse_binary(pair.value, 64))
                CHECK(bytes->size() <= 64, "more bytes than the bound");
            is_initiator_port(pair.value);
        }
        const Parameters& p = negotiation.parameters();
        CHECK(p.initiator_max_recv_data_segment_length >= 512 && p.first_burst_limit() >= 512 &&
                  p.first_burst_limit() <= p.max_burst_length && p.max_outstanding_r2t >= 1 &&
                  p.error_recovery_level == 0 && p.max_connections >= 1 &&
                  p.max_connections <= kMaxConnections,
              "a parameter outside its range");
        CHECK(parse_text(response).has_value(), "our own answer is malformed");
    }
    return 0;
}
