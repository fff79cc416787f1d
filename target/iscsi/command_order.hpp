// CommandOrder: the one command stream of a session over all of its connections (RFC 7143 4.2.2.1):
// CmdSN order, the window, and what arrived ahead of a gap and waits for its turn. Pure; it knows
// connections only as the address that what waits came from.
//
// Bounded: kWindow commands not answered yet, kMaxHeld waiting PDUs with kMaxHeldBytes of data, for
// the whole session, however many connections it has.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "target/iscsi/pdu.hpp"

namespace goldlink::iscsi {

class SessionConnection;

class CommandOrder {
  public:
    static constexpr std::uint32_t kWindow = 128;
    static constexpr std::size_t kMaxHeld = 256;
    static constexpr std::size_t kMaxHeldBytes = 1U << 20;

    struct Held {
        SessionConnection* from = nullptr;  // null: nothing to do, its CmdSN counts as received
        std::uint32_t cmd_sn = 0;
        std::array<std::uint8_t, kBhsBytes> header{};
        std::vector<std::uint8_t> ahs;
        std::vector<std::uint8_t> data;

        Pdu pdu() const { return {.bhs = Bhs(header.data()), .ahs = ahs, .data = data}; }
    };

    enum class Turn : std::uint8_t {
        now,      // the next in order
        ahead,    // something before it is missing, or the barrier stands before it
        outside,  // of the window: to be ignored in silence
    };

    explicit CommandOrder(std::uint32_t exp_cmd_sn) : exp_cmd_sn_(exp_cmd_sn) {}

    std::uint32_t exp_cmd_sn() const { return exp_cmd_sn_; }
    std::uint32_t max_cmd_sn() const { return exp_cmd_sn_ + (kWindow - unanswered_) - 1; }

    Turn turn_of(std::uint32_t cmd_sn) const {
        if (sn_less(cmd_sn, exp_cmd_sn_) || sn_less(max_cmd_sn(), cmd_sn)) return Turn::outside;
        return cmd_sn == exp_cmd_sn_ && !barred(cmd_sn) ? Turn::now : Turn::ahead;
    }
    void take_turn() { ++exp_cmd_sn_; }

    // Commands that take room in the window until they are answered.
    void enter_window() { ++unanswered_; }
    void leave_window() { --unanswered_; }

    // Keeps a PDU that is ahead. False: no room for it.
    [[nodiscard]] bool hold(SessionConnection& from, const Pdu& pdu);
    // Keeps a Data-Out that followed a command which is held itself.
    [[nodiscard]] bool hold_data(SessionConnection& from, const Pdu& pdu);
    bool holds_task(const SessionConnection& from, std::uint32_t itt) const;
    bool empty() const { return held_.empty(); }

    // What waited and may be handled now, its turn taken; Data-Out follows its command.
    std::optional<Held> next();

    // A command that will not come, or not any more, counts as received (11.5.1, 11.6.1): one of
    // CmdSN `cmd_sn` in the window; or all before `cmd_sn`.
    void plug(std::uint32_t cmd_sn);
    void plug_before(std::uint32_t cmd_sn);
    // A connection goes: what came on it is not executed any more, but it was received.
    void forget(const SessionConnection& from);
    void clear();

    // While a task management request waits for the commands before it, those from its CmdSN on
    // have no turn.
    void set_barrier(std::optional<std::uint32_t> cmd_sn) { barrier_ = cmd_sn; }

  private:
    bool barred(std::uint32_t cmd_sn) const { return barrier_ && !sn_less(cmd_sn, *barrier_); }
    bool keep(SessionConnection& from, std::uint32_t cmd_sn, const Pdu& pdu);
    void drop(std::size_t index);

    std::uint32_t exp_cmd_sn_;
    std::uint32_t unanswered_ = 0;
    std::optional<std::uint32_t> barrier_;
    std::deque<Held> held_;
    std::size_t held_bytes_ = 0;
};

}  // namespace goldlink::iscsi
