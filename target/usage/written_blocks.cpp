#include "target/usage/written_blocks.hpp"

#include <algorithm>
#include <bit>

#include "common/check.hpp"

namespace goldlink::usage {

void WrittenBlocks::add(std::uint32_t first, std::uint32_t count) {
    const std::uint64_t end =
        runs_.empty() ? 0 : std::uint64_t{runs_.back().first} + runs_.back().count;
    CHECK(count > 0 && first >= end, "written blocks ascend");
    if (!runs_.empty() && first == end) {
        runs_.back().count += count;
    } else {
        runs_.push_back({first, count});
        before_.push_back(blocks_);
    }
    blocks_ += count;
}

void WrittenBlocks::each_in(std::uint64_t offset_bytes, std::uint64_t length_bytes,
                            const std::function<bool(const Piece&)>& visit) const {
    if (length_bytes > ~std::uint64_t{0} - offset_bytes)
        length_bytes = ~std::uint64_t{0} - offset_bytes;
    const std::uint64_t end = offset_bytes + length_bytes;
    auto run = std::partition_point(runs_.begin(), runs_.end(), [&](const BlockRun& each) {
        return (std::uint64_t{each.first} + each.count) * kBlockBytes <= offset_bytes;
    });
    for (; run != runs_.end() && run->first * kBlockBytes < end; ++run) {
        const std::uint64_t start = run->first * kBlockBytes;
        const std::uint64_t from = std::max(start, offset_bytes);
        const std::uint64_t to = std::min(start + run->count * kBlockBytes, end);
        const std::uint64_t before =
            before_[static_cast<std::size_t>(run - runs_.begin())] * kBlockBytes;
        if (from < to && !visit({from, to - from, before + (from - start)})) return;
    }
}

std::uint64_t WrittenBlocks::bytes_in(std::uint64_t offset_bytes,
                                      std::uint64_t length_bytes) const {
    std::uint64_t bytes = 0;
    each_in(offset_bytes, length_bytes, [&](const Piece& piece) {
        bytes += piece.length_bytes;
        return true;
    });
    return bytes;
}

Claims::Claims(const WrittenBlocks& written)
    : written_(written), bits_(written.bytes() / kUnitBytes / 64 + 1) {}

std::uint64_t Claims::take(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
    std::uint64_t units = 0;
    written_.each_in(offset_bytes, length_bytes, [&](const WrittenBlocks::Piece& piece) {
        units += take_units((piece.before_bytes + kUnitBytes - 1) / kUnitBytes,
                            (piece.before_bytes + piece.length_bytes) / kUnitBytes);
        return true;
    });
    return units * kUnitBytes;
}

std::uint64_t Claims::take_units(std::uint64_t first, std::uint64_t end) {
    std::uint64_t taken = 0;
    while (first < end) {
        const std::uint64_t bit = first % 64, count = std::min(64 - bit, end - first);
        const std::uint64_t mask =
            (count == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1) << bit;
        std::uint64_t& word = bits_[first / 64];
        taken += static_cast<unsigned>(std::popcount(mask & ~word));
        word |= mask;
        first += count;
    }
    return taken;
}

}  // namespace goldlink::usage
