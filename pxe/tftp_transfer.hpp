// One TFTP read as the server sees it (RFC 1350, 2347-2349, 7440): which packets to send after each
// that came in or failed to. Pure: time is passed in, and the blocks' bytes are somebody else's.
//
// Blocks are counted in 64 bits here and wrap to 16 only on the wire, so a file may be longer than
// 65535 blocks. Invariant: acked_ <= sent_ <= block_count_ and sent_ - acked_ <= window.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "pxe/tftp_packet.hpp"

namespace goldlink::pxe::tftp {

inline constexpr std::uint32_t kDefaultBlockBytes = 512;
// Not larger than an Ethernet frame carries: firmware's IP stacks are poor at fragments.
inline constexpr std::uint32_t kMaxBlockBytes = 1468;
inline constexpr std::uint32_t kMaxWindowBlocks = 32;
inline constexpr unsigned kMaxRetransmits = 6;
// Until the peer has acknowledged anything its address is but a claim: whoever forges one must not
// make us send much to it. A client that lost our answer asks again by itself.
inline constexpr unsigned kMaxUnansweredRetransmits = 1;

struct Terms {
    std::uint32_t block_bytes = kDefaultBlockBytes;
    std::uint32_t window_blocks = 1;
    std::chrono::milliseconds timeout{1000};
    bool timeout_agreed = false;   // the peer asked for it, so it stays the same at each repetition
    std::vector<Option> accepted;  // what the OACK says; empty: no OACK
};

// Which of the options asked for are taken, and how. One we cannot take is left out, as RFC 2347
// says, never an error.
Terms negotiate(const std::vector<Option>& asked, std::uint64_t file_bytes);

class Transfer {
  public:
    using Time = std::chrono::steady_clock::time_point;

    enum class State : std::uint8_t { running, done, failed };

    // What to send now: the OACK, or `count` blocks from `first` on (the first block of a file is
    // 1), or an ERROR, or nothing.
    struct Step {
        enum class Send : std::uint8_t { nothing, option_ack, blocks, error };
        Send send = Send::nothing;
        std::uint64_t first = 0;
        std::uint32_t count = 0;
        ErrorCode error = ErrorCode::undefined;
        std::string error_text;
    };

    Transfer(Terms terms, std::uint64_t file_bytes);

    Step start(Time now);
    Step receive(Bytes packet, Time now);
    // To be called at deadline() or later.
    Step timeout(Time now);
    // The peer sent its request again and has not answered() yet: the first packets once more. The
    // deadline stays.
    Step repeat();

    State state() const { return state_; }
    Time deadline() const { return deadline_; }  // while running
    bool answered() const { return answered_; }  // the peer has acknowledged something
    Time last_progress() const { return last_progress_; }
    const Terms& terms() const { return terms_; }
    const std::string& why() const { return why_; }  // of a failure

    std::uint64_t offset_of(std::uint64_t block) const { return (block - 1) * terms_.block_bytes; }
    std::uint32_t length_of(std::uint64_t block) const;
    std::uint64_t retransmitted() const { return retransmitted_; }

  private:
    Step send_window(Time now);
    Step option_ack() const;
    void progress(Time now);
    Step acknowledged(std::uint16_t block, Time now);
    Step give_up(ErrorCode code, std::string why);
    void arm(Time now);

    const Terms terms_;
    const std::uint64_t file_bytes_;
    const std::uint64_t block_count_;  // at least 1: a file ends with a short, maybe empty, block
    State state_ = State::running;
    bool waits_for_zero_ = false;  // the OACK is not acknowledged yet
    bool answered_ = false;
    std::uint64_t acked_ = 0;      // every block up to this one has arrived
    std::uint64_t sent_ = 0;       // every block up to this one was sent
    bool resent_for_gap_ = false;  // since the last progress
    unsigned tries_ = 0;           // timeouts since the last progress
    std::uint64_t retransmitted_ = 0;
    Time deadline_;
    Time last_progress_;
    std::string why_;
};

}  // namespace goldlink::pxe::tftp
