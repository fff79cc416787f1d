#include "disk_model.hpp"

#include <algorithm>
#include <cstring>

namespace goldlink::sim {

DiskModel::DiskModel(const std::vector<std::uint8_t>& base) : size_(base.size()) {
    for (std::uint64_t at = 0; at < size_; at += kBlock) {
        std::string content(kBlock, '\0');
        std::memcpy(content.data(), base.data() + at, std::min(kBlock, size_ - at));
        base_.push_back(content);
        blocks_.push_back({State{0, {content}, false}});
    }
}

void DiskModel::wrote(std::uint64_t offset, std::uint64_t length, const std::uint8_t* data,
                      Certainty certainty) {
    ++clock_;
    for (std::uint64_t done = 0; done < length;) {
        const std::uint64_t at = offset + done, in_block = at % kBlock;
        const std::uint64_t run = std::min(kBlock - in_block, length - done);
        auto& history = blocks_[at / kBlock];
        const bool replaced = run == kBlock && certainty == Certainty::done;
        State next{
            clock_, {}, certainty == Certainty::torn || (history.back().anything && !replaced)};
        for (std::string content : history.back().contents) {
            if (certainty != Certainty::done) next.contents.insert(content);
            if (data != nullptr)
                std::memcpy(content.data() + in_block, data + done, run);
            else
                std::memset(content.data() + in_block, 0, run);
            next.contents.insert(std::move(content));
        }
        history.push_back(std::move(next));
        done += run;
    }
}

void DiskModel::flushed(std::uint64_t asked, std::uint64_t offset, std::uint64_t length) {
    for (std::uint64_t block = offset / kBlock; block * kBlock < offset + length; ++block) {
        auto& history = blocks_[block];
        std::size_t keep = 0;
        while (keep + 1 < history.size() && history[keep + 1].time <= asked) ++keep;
        history.erase(history.begin(), history.begin() + static_cast<std::ptrdiff_t>(keep));
    }
}

void DiskModel::lost_power(bool to_base) {
    ++clock_;
    for (std::size_t block = 0; block < blocks_.size(); ++block) {
        State after = to_base ? State{clock_, {base_[block]}, false} : any_since_flush(block);
        blocks_[block] = {std::move(after)};
    }
}

void DiskModel::shaken() {
    ++clock_;
    for (std::size_t block = 0; block < blocks_.size(); ++block)
        blocks_[block].push_back(any_since_flush(block));
}

DiskModel::State DiskModel::any_since_flush(std::size_t block) const {
    State any{clock_, {}, false};
    for (const State& state : blocks_[block]) {
        any.contents.insert(state.contents.begin(), state.contents.end());
        any.anything = any.anything || state.anything;
    }
    return any;
}

std::string DiskModel::check(std::uint64_t offset, std::uint64_t length, const std::uint8_t* data) {
    for (std::uint64_t done = 0; done < length;) {
        const std::uint64_t at = offset + done, in_block = at % kBlock;
        const std::uint64_t run = std::min(kBlock - in_block, length - done);
        auto& history = blocks_[at / kBlock];
        const auto matches = [&](const std::string& content) {
            return std::memcmp(content.data() + in_block, data + done, run) == 0;
        };
        auto& contents = history.back().contents;
        if (history.back().anything) {
            if (run == kBlock)
                history.back() = {
                    history.back().time, {std::string(data + done, data + done + run)}, false};
            done += run;
            continue;
        }
        if (std::none_of(contents.begin(), contents.end(), matches))
            return "block " + std::to_string(at / kBlock) + " reads as none of the " +
                   std::to_string(contents.size()) + " contents it may have";
        std::erase_if(contents, [&](const std::string& content) { return !matches(content); });
        done += run;
    }
    return "";
}

}  // namespace goldlink::sim
