// The full feature phase: any bytes after a good login, with and without data digests.
#include "common/check.hpp"
#include "tests/fuzz/iscsi/fuzz_world.hpp"

using namespace goldlink::iscsi;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 2) return 0;
    fuzz::World world;
    fuzz::NullTransport transport;
    auto connection = std::make_unique<Connection>(world.environment, transport, "peer",
                                                   PortalAddresses{"10.0.0.1:3260", {}});
    fuzz::run(world, *connection, fuzz::login_request((data[1] & 1) != 0), 4096);
    CHECK(connection->logged_in(), "the good login fails");
    const std::size_t piece = data[0] == 0 ? size : std::size_t{data[0]} * 4;
    fuzz::run(world, *connection, {data + 2, size - 2}, piece);
    fuzz::finish(world, std::move(connection));
    return 0;
}
