#include "target/reactor/io_ring.hpp"

#include <cstdlib>
#include <string_view>

#include "common/log.hpp"
#include "target/reactor/io_ring_threads.hpp"
#include "target/reactor/io_ring_uring.hpp"

namespace goldlink::reactor {

std::unique_ptr<IoRing> make_io_ring(boost::asio::io_context& context) {
    const char* wanted = std::getenv("GOLDLINK_IO");
    if (wanted == nullptr || std::string_view(wanted) != "threads") {
        auto ring = UringRing::make(context);
        if (ring) return std::move(*ring);
        log::warn("{}; file I/O goes through {} threads instead, which costs more CPU",
                  ring.error().message, ThreadRing::kThreads);
    }
    return std::make_unique<ThreadRing>(context);
}

}  // namespace goldlink::reactor
