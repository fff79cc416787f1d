// Command: one SCSI command of a session between its arrival and its response, and the session's
// fixed-size table of them: an ITT is unique in a session (RFC 7143 4.2.2.1), whichever connection
// the command is allegiant to. No allocation per command: slots come in chunks and are used again.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "target/iscsi/buffer_pool.hpp"
#include "target/scsi/task.hpp"

namespace goldlink::iscsi {

class SessionConnection;

struct Command {
    enum class State : std::uint8_t {
        free,
        collecting,  // prepared; data-out still comes
        draining,    // its status is known; only unsolicited data still comes
        executing,   // the device has it
        answered,    // its status is known; its response waits for a fence (4.2.2.3.2)
    };

    scsi::Task task;
    SessionConnection* connection = nullptr;  // that it came on: its allegiance (4.2.4.1)
    Command* next = nullptr;                  // free list, or the chain of its ITT
    State state = State::free;
    bool immediate = false;
    bool reads = false;             // R bit
    bool writes = false;            // W bit
    bool unsolicited_open = false;  // Data-Out without R2T may still come
    bool digest_error = false;      // some Data-Out was corrupt: RFC 7143 7.8
    bool in_window = false;         // counts against MaxCmdSN, or the immediate commands' limit
    std::uint16_t index = 0;        // of this slot
    std::uint16_t generation = 0;   // of its use, so that a stale TTT is recognised
    std::uint32_t itt = 0;
    std::uint32_t expected_length = 0;  // EDTL
    std::uint32_t data_pdus = 0;        // Data-In and R2T PDUs sent: ExpDataSN

    // Data-out. Everything arrives in order (DataPDUInOrder and DataSequenceInOrder are Yes).
    Buffer buffer;
    std::uint32_t wanted = 0;            // bytes the device gets: offered or asked, the lesser
    std::uint32_t received = 0;          // in order from offset 0
    std::uint32_t sequence_end = 0;      // of the sequence that is arriving
    std::uint32_t sequence_data_sn = 0;  // the next in it
    std::uint32_t requested_end = 0;     // R2Ts were sent up to here
    std::uint32_t r2t_sn = 0;            // the next to send
    std::uint32_t r2t_done = 0;          // sequences that came whole
};

class CommandTable {
  public:
    static constexpr std::size_t kMaxCommands = 512;

    // Null: the table is full.
    Command* allocate(std::uint32_t itt);
    void release(Command& command);

    Command* find(std::uint32_t itt) const {
        for (Command* c = chains_[chain_of(itt)]; c != nullptr; c = c->next)
            if (c->itt == itt) return c;
        return nullptr;
    }

    // A Target Transfer Tag names slot, its use and the sequence; never kReservedTag.
    static std::uint32_t transfer_tag(const Command& command, std::uint32_t sequence) {
        return (std::uint32_t{command.index} << 22) | ((command.generation & 0x3ffU) << 12) |
               (sequence & 0xfffU);
    }

    template <typename Visit>
    void for_each(Visit visit) {
        for (auto& chunk : chunks_)
            for (std::size_t i = 0; i < kChunk; ++i)
                if (chunk[i].state != Command::State::free) visit(chunk[i]);
    }

    std::size_t size() const { return size_; }

  private:
    static constexpr std::size_t kChunk = 8;
    static constexpr std::size_t kChains = 64;
    static std::size_t chain_of(std::uint32_t itt) { return (itt ^ (itt >> 6)) % kChains; }

    std::vector<std::unique_ptr<Command[]>> chunks_;
    Command* free_ = nullptr;
    std::array<Command*, kChains> chains_{};
    std::size_t size_ = 0;
};

}  // namespace goldlink::iscsi
