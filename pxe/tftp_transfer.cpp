#include "pxe/tftp_transfer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <optional>

#include "common/check.hpp"

namespace goldlink::pxe::tftp {

namespace {

constexpr std::chrono::milliseconds kLongestWait{8000};
// Whatever timeout was asked for: it is agreed only when the OACK is acknowledged.
constexpr std::chrono::milliseconds kUnansweredWaits[] = {std::chrono::milliseconds(1000),
                                                          std::chrono::milliseconds(4000)};
static_assert(std::size(kUnansweredWaits) == kMaxUnansweredRetransmits + 1);
constexpr std::uint64_t kMaxAgreedTimeoutSeconds = 30;

std::optional<std::uint64_t> number(std::string_view text) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return value;
}

bool accepted_already(const Terms& terms, std::string_view name) {
    return std::any_of(terms.accepted.begin(), terms.accepted.end(),
                       [&](const Option& option) { return option.name == name; });
}

}  // namespace

Terms negotiate(const std::vector<Option>& asked, std::uint64_t file_bytes) {
    Terms terms;
    for (const Option& option : asked) {
        const auto value = number(option.value);
        if (!value || accepted_already(terms, option.name)) continue;
        std::uint64_t agreed = *value;
        if (option.name == "blksize" && *value >= 8 && *value <= 65464) {  // RFC 2348
            agreed = std::min<std::uint64_t>(*value, kMaxBlockBytes);
            terms.block_bytes = static_cast<std::uint32_t>(agreed);
        } else if (option.name == "windowsize" && *value >= 1 && *value <= 65535) {  // RFC 7440
            agreed = std::min<std::uint64_t>(*value, kMaxWindowBlocks);
            terms.window_blocks = static_cast<std::uint32_t>(agreed);
        } else if (option.name == "timeout" && *value >= 1 && *value <= kMaxAgreedTimeoutSeconds) {
            terms.timeout = std::chrono::seconds(*value);  // RFC 2349
            terms.timeout_agreed = true;
        } else if (option.name == "tsize") {  // RFC 2349: the peer sends 0, we the size
            agreed = file_bytes;
        } else {
            continue;
        }
        terms.accepted.push_back({option.name, fmt::format("{}", agreed)});
    }
    return terms;
}

Transfer::Transfer(Terms terms, std::uint64_t file_bytes)
    : terms_(std::move(terms)),
      file_bytes_(file_bytes),
      block_count_(file_bytes / terms_.block_bytes + 1) {
    CHECK(terms_.block_bytes >= 8 && terms_.window_blocks >= 1 &&
              terms_.window_blocks <= kMaxWindowBlocks,
          "negotiate() made these terms");
}

std::uint32_t Transfer::length_of(std::uint64_t block) const {
    CHECK(block >= 1 && block <= block_count_, "a block of this file");
    return static_cast<std::uint32_t>(
        std::min<std::uint64_t>(terms_.block_bytes, file_bytes_ - offset_of(block)));
}

void Transfer::arm(Time now) {
    std::chrono::milliseconds wait = terms_.timeout;
    if (!answered_)
        wait = kUnansweredWaits[std::min(tries_, kMaxUnansweredRetransmits)];
    else if (!terms_.timeout_agreed)
        wait = std::min(kLongestWait, wait * (1 << std::min(tries_, 10U)));
    deadline_ = now + wait;
}

Transfer::Step Transfer::start(Time now) {
    CHECK(sent_ == 0 && tries_ == 0, "started once");
    last_progress_ = now;
    if (terms_.accepted.empty()) return send_window(now);
    waits_for_zero_ = true;
    arm(now);
    return option_ack();
}

Transfer::Step Transfer::option_ack() const {
    Step step;
    step.send = Step::Send::option_ack;
    return step;
}

Transfer::Step Transfer::repeat() {
    CHECK(state_ == State::running && !answered_, "only what was not answered is asked for again");
    if (waits_for_zero_) return option_ack();
    Step step;
    step.send = Step::Send::blocks;
    step.first = 1;
    step.count = static_cast<std::uint32_t>(sent_);
    retransmitted_ += sent_;
    return step;
}

void Transfer::progress(Time now) {
    answered_ = true;
    last_progress_ = now;
    tries_ = 0;
}

// Sends the whole window after the last acknowledged block, again or for the first time.
Transfer::Step Transfer::send_window(Time now) {
    Step step;
    step.send = Step::Send::blocks;
    step.first = acked_ + 1;
    step.count = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(terms_.window_blocks, block_count_ - acked_));
    const std::uint64_t last = acked_ + step.count;
    retransmitted_ += std::min(sent_, last) - acked_;
    sent_ = std::max(sent_, last);
    arm(now);
    return step;
}

Transfer::Step Transfer::give_up(ErrorCode code, std::string why) {
    state_ = State::failed;
    why_ = why;
    Step step;
    step.send = Step::Send::error;
    step.error = code;
    step.error_text = std::move(why);
    return step;
}

Transfer::Step Transfer::receive(Bytes packet, Time now) {
    CHECK(state_ == State::running, "an ended transfer gets no packets");
    const auto message = parse(packet);
    if (!message) return give_up(ErrorCode::illegal, message.error().message);
    if (const auto* ack = std::get_if<Ack>(&*message)) return acknowledged(ack->block, now);
    if (const auto* error = std::get_if<PeerError>(&*message)) {
        state_ = State::failed;
        why_ = fmt::format("the client ended it: {} (code {})",
                           error->message.empty() ? "no message" : error->message, error->code);
        return {};
    }
    return give_up(ErrorCode::illegal, "this transfer is a read: only ACK and ERROR belong to it");
}

Transfer::Step Transfer::acknowledged(std::uint16_t block, Time now) {
    if (waits_for_zero_) {
        if (block != 0) return {};
        waits_for_zero_ = false;
        progress(now);
        return send_window(now);
    }
    // Where the 16-bit number lies in what is under way: at most a window ahead of acked_.
    const auto ahead = static_cast<std::uint16_t>(block - static_cast<std::uint16_t>(acked_));
    if (ahead > sent_ - acked_) return {};  // an old one, delayed by the network
    if (ahead == 0) {
        // The same ACK again. With one block a window, answering it would double every packet from
        // here on (RFC 1123 section 4.2.3.1). With more it says that the window's first block was
        // lost (RFC 7440 section 4), and it may come once for each block that did arrive.
        if (terms_.window_blocks == 1 || resent_for_gap_) return {};
        resent_for_gap_ = true;
        return send_window(now);
    }
    acked_ += ahead;
    progress(now);
    resent_for_gap_ = false;
    if (acked_ == block_count_) {
        state_ = State::done;
        return {};
    }
    return send_window(now);
}

Transfer::Step Transfer::timeout(Time now) {
    CHECK(state_ == State::running, "an ended transfer has no deadline");
    if (now < deadline_) return {};
    if (!answered_ && tries_ == kMaxUnansweredRetransmits) {
        state_ = State::failed;
        why_ = "the client did not answer";
        return {};
    }
    if (tries_ == kMaxRetransmits)
        return give_up(ErrorCode::undefined,
                       fmt::format("no answer after {} repetitions", kMaxRetransmits));
    ++tries_;
    resent_for_gap_ = false;
    if (!waits_for_zero_) return send_window(now);
    arm(now);
    return option_ack();
}

}  // namespace goldlink::pxe::tftp
