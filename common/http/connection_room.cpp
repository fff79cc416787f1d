#include "common/http/connection_room.hpp"

#include <algorithm>
#include <tuple>
#include <unordered_map>

#include "common/check.hpp"

namespace goldlink::http {
namespace {

constexpr std::string_view kUnix = "unix";

}  // namespace

ConnectionSlot::ConnectionSlot(SocketStream& stream, std::string peer, Clock::time_point now)
    : stream_(stream), peer_(std::move(peer)), idle_since_(ticks(now)) {}

// Half for one address: behind a proxy or NAT all of a room may have one.
ConnectionRoom::Limits ConnectionRoom::Limits::of(unsigned total) {
    constexpr unsigned kLeastToShare = 32;
    if (total < kLeastToShare) return {total, total, 0};
    return {total, total / 2, total / 8};
}

unsigned ConnectionRoom::count_of(const std::string& peer) const {
    return static_cast<unsigned>(std::count_if(
        slots_.begin(), slots_.end(),
        [&](const ConnectionSlot* slot) { return !slot->leaving_ && slot->peer_ == peer; }));
}

ConnectionRoom::Answer ConnectionRoom::admit(ConnectionSlot& slot, Clock::time_point now) {
    const bool counted = slot.peer_ != kUnix;
    const unsigned had = counted ? count_of(slot.peer_) : 0;
    // Those that were shut down end within moments; until then they have threads.
    if (leaving_ >= limits_.total) return Answer::full;
    if (counted && had >= limits_.per_address) {
        if (!make_room(&slot.peer_, now)) return Answer::full_of_address;
    } else {
        const unsigned most = limits_.total - (had < kFew ? 0 : limits_.reserved);
        if (slots_.size() - leaving_ >= most && !make_room(nullptr, now)) return Answer::full;
    }
    slots_.push_back(&slot);
    return Answer::admitted;
}

bool ConnectionRoom::make_room(const std::string* of_peer, Clock::time_point now) {
    std::unordered_map<std::string_view, unsigned> counts;
    for (const ConnectionSlot* slot : slots_)
        if (!slot->leaving_) ++counts[slot->peer_];
    const Clock::rep stalled_before = ConnectionSlot::ticks(now - kStalled);
    ConnectionSlot* first = nullptr;
    std::tuple<int, Clock::rep> first_rank;
    for (ConnectionSlot* slot : slots_) {
        if (slot->leaving_ || (of_peer != nullptr && slot->peer_ != *of_peer)) continue;
        const Clock::rep idle_since = slot->idle_since_.load();
        const Clock::rep waits_since = slot->stream_.waits_since();
        std::tuple<int, Clock::rep> rank{2, waits_since};
        if (idle_since != 0)
            rank = {slot->peer_ != kUnix && counts[slot->peer_] > kFew ? 0 : 1, idle_since};
        else if (waits_since == 0 || waits_since > stalled_before)
            continue;
        if (first == nullptr || rank < first_rank) first = slot, first_rank = rank;
    }
    if (first == nullptr) return false;
    first->leaving_ = true;
    ++leaving_;
    first->stream_.shut_down();
    return true;
}

void ConnectionRoom::remove(ConnectionSlot& slot) {
    const auto found = std::find(slots_.begin(), slots_.end(), &slot);
    CHECK(found != slots_.end(), "a connection leaves a room it is not in");
    if (slot.leaving_) --leaving_;
    slots_.erase(found);
}

void ConnectionRoom::shut_down_all() {
    for (ConnectionSlot* slot : slots_) slot->stream_.shut_down();
}

}  // namespace goldlink::http
