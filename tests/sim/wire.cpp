#include "tests/sim/wire.hpp"

#include <algorithm>
#include <array>

namespace goldlink::sim {

using namespace iscsi;

Wire::Wire(Environment& environment, Random& random, std::size_t window_bytes)
    : random_(random),
      window_bytes_(window_bytes),
      connection_(std::make_unique<Connection>(environment, *this, "10.0.0.7:1024",
                                               PortalAddresses{"10.0.0.1:3260", {}})) {}

void Wire::deliver(std::size_t bytes) {
    if (target_gone) return to_target.clear();
    bytes = std::min(bytes, to_target.size());
    if (connection_->closing()) {  // read and thrown away, until the initiator closes
        to_target.erase(to_target.begin(), to_target.begin() + static_cast<std::ptrdiff_t>(bytes));
        wants_turn_ = true;
        return;
    }
    if (connection_->input_paused()) return;
    const MutableBytes direct = connection_->direct_space();
    const std::size_t placed = std::min(direct.size(), bytes);
    if (placed > 0) std::memcpy(direct.data(), to_target.data(), placed);
    connection_->direct_received(placed);
    const std::size_t used =
        placed + connection_->consume(Bytes(to_target).subspan(placed, bytes - placed));
    // What was not taken waits as the socket's backlog does.
    to_target.erase(to_target.begin(), to_target.begin() + static_cast<std::ptrdiff_t>(used));
    wants_turn_ = true;
}

void Wire::send() {
    OutputQueue& output = connection_->output();
    while (!output.empty() && to_initiator.size() < window_bytes_) {
        std::array<iovec, 12> vectors{};
        const std::size_t count = output.gather(vectors.data(), vectors.size());
        std::size_t room = window_bytes_ - to_initiator.size();
        if (random_() % 4 == 0) room = 1 + random_() % room;  // a short write
        std::size_t sent = 0;
        for (std::size_t i = 0; i < count && room > 0; ++i) {
            const auto* data = static_cast<const std::uint8_t*>(vectors[i].iov_base);
            const std::size_t step = std::min(room, vectors[i].iov_len);
            if (!initiator_gone) to_initiator.insert(to_initiator.end(), data, data + step);
            sent += step;
            room -= step;
        }
        output.sent(sent);
    }
}

void Wire::turn() {
    wants_turn_ = false;
    if (target_gone) return;
    send();
    if (!connection_->closing()) {
        // Writable again is an event of the socket's own.
        wants_turn_ = !connection_->output().empty();
        return;
    }
    if (!connection_->output().empty()) {
        wants_turn_ = true;
        return;
    }
    // Said all it had to: the initiator sees the end, and closes its side in its own time.
    if (initiator_gone || random_() % 3 == 0)
        lose();
    else
        wants_turn_ = true;
}

void Wire::tick(std::uint64_t now_ms) {
    if (target_gone) return;
    connection_->tick(now_ms);
    if (connection_->closing()) wants_turn_ = true;
}

void Wire::lose() {
    if (target_gone) return;
    target_gone = true;
    connection_->transport_lost(SessionEnd::connection_lost);
    connection_->output().clear();
}

std::string Wire::describe() const {
    return std::to_string(to_target.size()) + " bytes to the target, " +
           std::to_string(to_initiator.size()) + " to the initiator, " +
           std::to_string(connection_->output().queued_bytes()) + " to be sent" +
           (connection_->input_paused() ? ", paused" : "") +
           (connection_->closing() ? ", closing" : "") + (wants_turn_ ? ", wants a turn" : "") +
           (initiator_gone ? ", initiator gone" : "") + (target_gone ? ", target gone" : "");
}

}  // namespace goldlink::sim
