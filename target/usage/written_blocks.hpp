// WrittenBlocks: which 4 KiB blocks of a disk its overlay holds, as sorted runs, and how many bytes
// of any range of the disk these are. Claims: which of those bytes something was found to own, each
// once, so that what is counted adds up whatever a file system says. Pure; one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace goldlink::usage {

inline constexpr std::uint64_t kBlockBytes = 4096;
inline constexpr std::uint64_t kUnitBytes = 512;  // what Claims tells apart
// 128 MiB of them. A disk whose overlay is in more pieces is not looked into.
inline constexpr std::size_t kMaxRuns = std::size_t{1} << 24;

struct BlockRun {
    std::uint32_t first = 0;  // block of the disk
    std::uint32_t count = 0;

    bool operator==(const BlockRun&) const = default;
};

class WrittenBlocks {
  public:
    // Ascending, `count` above 0; a block that follows the run before makes that one longer.
    void add(std::uint32_t first, std::uint32_t count);

    const std::vector<BlockRun>& runs() const { return runs_; }
    std::uint64_t bytes() const { return blocks_ * kBlockBytes; }
    std::uint64_t bytes_in(std::uint64_t offset_bytes, std::uint64_t length_bytes) const;

    // Calls visit for each written piece of the range, ascending: where it lies on the disk and how
    // many written bytes lie before it.
    struct Piece {
        std::uint64_t offset_bytes = 0, length_bytes = 0, before_bytes = 0;
    };
    // False of visit ends it.
    void each_in(std::uint64_t offset_bytes, std::uint64_t length_bytes,
                 const std::function<bool(const Piece&)>& visit) const;

  private:
    std::vector<BlockRun> runs_;
    std::vector<std::uint64_t> before_;  // blocks in the runs before each
    std::uint64_t blocks_ = 0;
};

class Claims {
  public:
    // `written` must outlive this. Memory: a bit for each 512 written bytes.
    explicit Claims(const WrittenBlocks& written);

    // Claims what is written of the range and not claimed yet; both are multiples of kUnitBytes,
    // or what lies beside them is not claimed. Bytes.
    std::uint64_t take(std::uint64_t offset_bytes, std::uint64_t length_bytes);
    // A written unit, by the written bytes before it (WrittenBlocks::Piece).
    bool is_taken(std::uint64_t before_bytes) const {
        const std::uint64_t unit = before_bytes / kUnitBytes;
        return (bits_[unit / 64] >> unit % 64 & 1) != 0;
    }

  private:
    std::uint64_t take_units(std::uint64_t first, std::uint64_t end);

    const WrittenBlocks& written_;
    std::vector<std::uint64_t> bits_;
};

}  // namespace goldlink::usage
