// Wire: one TCP connection of the simulation, with the target's Connection at its end, driven as
// SocketConnection drives it: bytes come in any pieces, go out as far as there is room, and the
// Connection is looked at only when the event loop would (it asked for a turn, something arrived,
// there is room to send again). A turn that it should have asked for and did not is a hang.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "target/iscsi/connection.hpp"
#include "tests/sim/sim_storage.hpp"

namespace goldlink::sim {

class Wire final : public iscsi::Transport {
  public:
    Wire(iscsi::Environment& environment, Random& random, std::size_t window_bytes);

    std::vector<std::uint8_t> to_target, to_initiator;  // on their way
    bool initiator_gone = false;  // it will read no more; what it sent may still arrive
    bool target_gone = false;     // nothing more comes; what it sent may still arrive

    void deliver(std::size_t bytes);  // of to_target
    void turn();                      // of the event loop, if one is due
    void tick(std::uint64_t now_ms);
    void lose();  // the target learns that the connection is lost
    // The target's side has ended; the wire may be destroyed.
    bool over() const { return target_gone && connection_->finished(); }
    bool wants_turn() const { return wants_turn_; }
    void set_window(std::size_t bytes) { window_bytes_ = bytes; }
    std::string describe() const;

    void output_pending() override { wants_turn_ = true; }
    void flush() override { send(); }

  private:
    void send();

    Random& random_;
    std::size_t window_bytes_;
    bool wants_turn_ = false;
    std::unique_ptr<iscsi::Connection> connection_;
};

}  // namespace goldlink::sim
