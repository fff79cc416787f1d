// A connection from its first byte: PDU framing and the login phase, CHAP included.
#include "tests/fuzz/iscsi/fuzz_world.hpp"

using namespace goldlink::iscsi;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    fuzz::World world;
    fuzz::NullTransport transport;
    auto connection = std::make_unique<Connection>(world.environment, transport, "peer",
                                                   PortalAddresses{"10.0.0.1:3260", {}});
    const std::size_t piece = data[0] == 0 ? size : std::size_t{data[0]} * 4;
    fuzz::run(world, *connection, {data + 1, size - 1}, piece);
    fuzz::finish(world, std::move(connection));
    return 0;
}
