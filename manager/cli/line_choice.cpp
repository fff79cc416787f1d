#include "manager/cli/line_choice.hpp"

#include <algorithm>

#include "common/chunk_frame.hpp"

namespace goldlink::cli {

namespace {

constexpr unsigned kTryEvery = 32;   // requests
constexpr double kHardlyAny = 1e-6;  // chunks a second

}  // namespace

std::size_t LineChoice::most_chunks() const {
    return way_ == plain && !trying_ ? kMaxPlainChunks : kMaxFrameChunks;
}

void LineChoice::took(std::size_t chunks, std::chrono::steady_clock::duration time) {
    const double seconds = std::max(std::chrono::duration<double>(time).count(), 1e-6);
    chunks_a_second_[way_] = static_cast<double>(chunks) / seconds;
    choose();
}

void LineChoice::failed(bool connection_broke) {
    if (!connection_broke) return only_packed();
    way_ = packed;
    trying_ = false;
    since_tried_ = 0;
    chunks_a_second_[plain] = kHardlyAny;
}

void LineChoice::only_packed() {
    only_packed_ = true;
    way_ = packed;
}

void LineChoice::choose() {
    if (only_packed_) return;
    const auto untried = std::ranges::find(chunks_a_second_, 0.0);
    const Way better = chunks_a_second_[plain] > chunks_a_second_[packed] ? plain : packed;
    if (untried != chunks_a_second_.end()) {
        way_ = static_cast<Way>(untried - chunks_a_second_.begin());
    } else if (++since_tried_ == kTryEvery) {
        since_tried_ = 0;
        way_ = better == plain ? packed : plain;
        trying_ = true;
        return;
    } else {
        way_ = better;
    }
    trying_ = untried != chunks_a_second_.end();
}

}  // namespace goldlink::cli
