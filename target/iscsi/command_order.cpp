#include "target/iscsi/command_order.hpp"

#include <algorithm>

namespace goldlink::iscsi {

namespace {

Bhs bhs_of(const CommandOrder::Held& held) { return Bhs(held.header.data()); }

bool is_data(const CommandOrder::Held& held) {
    return held.from != nullptr && bhs_of(held).opcode() == Opcode::data_out;
}

}  // namespace

bool CommandOrder::keep(SessionConnection& from, std::uint32_t cmd_sn, const Pdu& pdu) {
    if (held_.size() >= kMaxHeld || held_bytes_ + pdu.data.size() > kMaxHeldBytes) return false;
    Held& held = held_.emplace_back();
    held.from = &from;
    held.cmd_sn = cmd_sn;
    std::memcpy(held.header.data(), pdu.bhs.bytes(), kBhsBytes);
    held.ahs.assign(pdu.ahs.begin(), pdu.ahs.end());
    held.data.assign(pdu.data.begin(), pdu.data.end());
    held_bytes_ += held.data.size();
    return true;
}

bool CommandOrder::hold(SessionConnection& from, const Pdu& pdu) {
    return keep(from, pdu.bhs.cmd_sn(), pdu);
}

bool CommandOrder::hold_data(SessionConnection& from, const Pdu& pdu) {
    for (const Held& held : held_)
        if (held.from == &from && !is_data(held) && bhs_of(held).itt() == pdu.bhs.itt())
            return keep(from, held.cmd_sn, pdu);
    return false;
}

bool CommandOrder::holds_task(const SessionConnection& from, std::uint32_t itt) const {
    return std::any_of(held_.begin(), held_.end(), [&](const Held& held) {
        return held.from == &from && bhs_of(held).opcode() == Opcode::scsi_command &&
               bhs_of(held).itt() == itt;
    });
}

void CommandOrder::drop(std::size_t index) {
    held_bytes_ -= held_[index].data.size();
    held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(index));
}

std::optional<CommandOrder::Held> CommandOrder::next() {
    for (std::size_t i = 0; i < held_.size();) {
        const bool data = is_data(held_[i]);
        const bool before = sn_less(held_[i].cmd_sn, exp_cmd_sn_);
        if (before && !data) {  // a second copy of one that has been taken meanwhile
            drop(i);
            continue;
        }
        const bool now = held_[i].cmd_sn == exp_cmd_sn_ && !barred(exp_cmd_sn_);
        if (data ? !before : !now) {
            ++i;
            continue;
        }
        if (!data) take_turn();
        Held held = std::move(held_[i]);
        held_bytes_ -= held.data.size();
        held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(i));
        if (held.from != nullptr) return held;
        i = 0;  // what stands before it in the queue may be the next in order
    }
    return std::nullopt;
}

void CommandOrder::plug(std::uint32_t cmd_sn) {
    std::erase_if(held_, [&](const Held& held) {
        if (held.cmd_sn != cmd_sn) return false;
        held_bytes_ -= held.data.size();
        return true;
    });
    if (cmd_sn == exp_cmd_sn_)
        take_turn();
    else if (turn_of(cmd_sn) == Turn::ahead)  // at most a window of them
        held_.emplace_back().cmd_sn = cmd_sn;
}

void CommandOrder::plug_before(std::uint32_t cmd_sn) {
    if (!sn_less(exp_cmd_sn_, cmd_sn)) return;
    std::erase_if(held_, [&](const Held& held) {
        if (!sn_less(held.cmd_sn, cmd_sn)) return false;
        held_bytes_ -= held.data.size();
        return true;
    });
    exp_cmd_sn_ = cmd_sn;
}

void CommandOrder::forget(const SessionConnection& from) {
    std::erase_if(held_, [&](const Held& held) {
        if (held.from != &from || !is_data(held)) return false;
        held_bytes_ -= held.data.size();
        return true;
    });
    for (Held& held : held_) {
        if (held.from != &from) continue;
        held_bytes_ -= held.data.size();
        held = {.from = nullptr, .cmd_sn = held.cmd_sn, .header = {}, .ahs = {}, .data = {}};
    }
}

void CommandOrder::clear() {
    held_.clear();
    held_bytes_ = 0;
}

}  // namespace goldlink::iscsi
