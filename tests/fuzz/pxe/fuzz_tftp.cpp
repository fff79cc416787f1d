// Any bytes as TFTP packets: first as a request, then, cut into pieces, as what a client sends
// during the transfer that the request began. The transfer must stay within the file and the
// window.
#include <algorithm>

#include "common/check.hpp"
#include "pxe/boot_files.hpp"
#include "pxe/tftp_transfer.hpp"

using namespace goldlink;
using namespace goldlink::pxe;
using namespace goldlink::pxe::tftp;

namespace {

void check(const Transfer& transfer, const Transfer::Step& step, std::uint64_t file_bytes) {
    if (step.send != Transfer::Step::Send::blocks) return;
    CHECK(step.count >= 1 && step.count <= kMaxWindowBlocks, "a window is bounded");
    for (std::uint64_t block = step.first; block < step.first + step.count; ++block)
        CHECK(transfer.offset_of(block) + transfer.length_of(block) <= file_bytes,
              "a block lies in the file");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 2) return 0;
    const std::uint64_t file_bytes = std::uint64_t{data[0]} * 997;
    Bytes rest = Bytes(data, size).subspan(1);
    const auto request = parse(rest);
    Terms terms;
    if (request)
        if (const auto* read = std::get_if<ReadRequest>(&*request)) {
            const std::string name = plain_name(read->file);
            CHECK(!is_boot_file_name(name) || name.find('/') == std::string::npos,
                  "a name accepted stays in its folder");
            terms = negotiate(read->options, file_bytes);
            CHECK(encode_option_ack(terms.accepted).size() < 512, "an OACK is small");
        }
    Transfer::Time now{};
    Transfer transfer(terms, file_bytes);
    check(transfer, transfer.start(now), file_bytes);
    while (!rest.empty() && transfer.state() == Transfer::State::running) {
        const std::size_t length = std::min<std::size_t>(rest.size(), 1 + rest[0] % 16U);
        if (rest[0] < 8 && !transfer.answered()) {
            check(transfer, transfer.repeat(), file_bytes);
        } else if (rest[0] < 32) {
            now = transfer.deadline();
            check(transfer, transfer.timeout(now), file_bytes);
        } else {
            check(transfer, transfer.receive(rest.subspan(1, length - 1), now), file_bytes);
        }
        rest = rest.subspan(length);
    }
    return 0;
}
