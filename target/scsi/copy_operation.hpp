// CopyOperation: one copy that the device does itself (SPC-4 5.17.4.3): pieces of blocks go from a
// logical unit's disk through one working buffer to another's, or the same. At most one disk
// request at a time, at most kTurnBytes in a turn of the loop, then others are served.
//
// Each piece is looked at anew: an aborted command, a reservation of another nexus, a token that
// was revoked and a cancelled operation stop it there. No piece is written into blocks that a
// started COMPARE AND WRITE or ORWRITE holds; it waits a turn instead. Those commands in their turn
// wait for a piece that is being written into theirs.
//
// After its end the operation stays in ThirdPartyCopy's list to answer for its result.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "target/scsi/logical_unit.hpp"
#include "target/scsi/rod_tokens.hpp"
#include "target/scsi/sense.hpp"

namespace goldlink::scsi {

// Service actions of THIRD-PARTY COPY OUT (83h), SPC-4 6.4 and SBC-3 5.7, 5.45.
enum class CopyOut : std::uint8_t {
    extended_copy_lid1 = 0x00,
    populate_token = 0x10,
    write_using_token = 0x11,
};

// A run of bytes to copy. Null source: zeroes.
struct CopyExtent {
    LogicalUnit* source = nullptr;
    std::uint64_t source_bytes = 0;
    LogicalUnit* destination = nullptr;
    std::uint64_t destination_bytes = 0;
    std::uint64_t length_bytes = 0;
    std::uint16_t segment = 0;  // index of the descriptor it belongs to

    // Towards higher addresses of the same unit, into itself: the last piece goes first.
    bool backwards() const {
        return source == destination && destination_bytes > source_bytes &&
               destination_bytes < source_bytes + length_bytes;
    }
};

class CopyOperation {
  public:
    enum class State : std::uint8_t { running, done, failed, terminated };

    // Set by who makes it.
    DeviceState* device = nullptr;
    const Nexus* nexus = nullptr;  // null once it is gone
    std::optional<std::uint32_t> list_identifier;
    CopyOut action = CopyOut::extended_copy_lid1;  // of the command that began it
    std::uint64_t token_id = 0;      // read from (WRITE USING TOKEN) or made (POPULATE TOKEN)
    bool delete_token = false;       // when it ends
    bool details_told = false;       // RECEIVE COPY FAILURE DETAILS has been answered
    std::uint64_t wanted_bytes = 0;  // what was asked for
    unsigned block_shift = 9;        // of the unit that got the command
    std::vector<CopyExtent> extents;

    // Copies for `task`, which gets its result, or for nobody (in the background). Step::finished:
    // it has ended, and a task's status is set. Else the task completes later.
    Step start(Task* task);
    // It was done by being asked for.
    void finish_at_once(std::uint64_t bytes) {
        wanted_bytes = copied_bytes_ = bytes;
        end(State::done, sense::kNoSense);
    }
    // Ends it before the next piece.
    void cancel() { cancelled_ = true; }
    bool waits_a_turn() const { return waits_a_turn_; }
    void next_turn();  // while waits_a_turn

    bool touches(const LogicalUnit& unit) const;
    // Whether the disk has not yet answered for a piece written there.
    bool is_writing(const LogicalUnit& unit, const ByteRange& range) const;
    bool in_background() const { return running() && task_ == nullptr; }
    bool running() const { return state_ == State::running; }
    State state() const { return state_; }
    const Sense& sense() const { return sense_; }
    std::uint64_t copied_bytes() const { return copied_bytes_; }
    std::uint16_t segments_done() const { return segments_done_; }
    std::uint16_t pieces() const { return pieces_; }  // written, modulo 65,536

    static constexpr std::uint64_t kTurnBytes = 256 * 1024;

  private:
    enum class Phase : std::uint8_t { choose, reading, to_be_written, writing };

    void end(State state, const Sense& sense);
    Step advance();
    Step choose_piece();
    bool submit(LogicalUnit& unit, disk::Operation operation, std::uint64_t offset_bytes);
    bool may_go_on();
    bool reserved_by_another(LogicalUnit& unit, Under under) const;
    void wait_a_turn();
    void resume();
    static void on_request_complete(disk::Request& request) noexcept;

    Task* task_ = nullptr;
    disk::Request request_;
    std::unique_ptr<WorkBuffer> buffer_;
    State state_ = State::running;
    Phase phase_ = Phase::choose;
    bool cancelled_ = false;
    bool waits_a_turn_ = false;
    Sense sense_;
    std::size_t extent_ = 0;         // the one being copied
    std::uint64_t extent_done_ = 0;  // bytes of it
    std::uint64_t piece_bytes_ = 0;
    std::uint64_t piece_at_ = 0;  // offset in the extent
    std::uint64_t turn_bytes_ = 0;
    std::uint64_t copied_bytes_ = 0;
    std::uint16_t segments_done_ = 0;
    std::uint16_t pieces_ = 0;
};

}  // namespace goldlink::scsi
