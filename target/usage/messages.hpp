// What goldlink-target and the program that reads file systems for it, goldlink-usage-reader, say
// to each other over a socket. Pure. Big endian.
//
// The target sends one Order. The reader then sends frames: `chunk` asks for 64 KiB of the disk,
// which the target answers (a status byte, then the chunk), `contents` reports a partition, `end`
// is the last. The target believes nothing of it: parse_contents refuses what cannot be.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/bytes.hpp"
#include "common/result.hpp"
#include "target/usage/disk_use.hpp"
#include "target/usage/written_blocks.hpp"

namespace goldlink::usage {

inline constexpr std::uint64_t kChunkBytes = 64 * 1024;
inline constexpr std::size_t kAnswerBytes = 1 + kChunkBytes;
inline constexpr std::uint8_t kChunkRead = 0, kChunkUnreadable = 1;

struct Order {
    std::uint64_t disk_bytes = 0;
    std::uint32_t sector_bytes = 512;  // logical blocks
    std::uint32_t files = 0;           // how many of each partition are wanted
    std::uint32_t budget_ms = 0;       // after which it reports what it has
    struct Range {
        std::uint64_t offset_bytes = 0, length_bytes = 0;
    };
    std::vector<Range> partitions;
};

// An order's head, which says how long the rest is; then partitions and runs.
inline constexpr std::size_t kOrderHeadBytes = 36;
std::string encode_order(const Order& order, const WrittenBlocks& written);
// Of a head: the bytes that follow it.
Result<std::size_t> order_rest_bytes(Bytes head);
Result<Order> parse_order(Bytes whole, WrittenBlocks& written);

enum class FrameKind : std::uint32_t { chunk = 1, contents = 2, end = 3 };
inline constexpr std::size_t kFrameHeadBytes = 8;
inline constexpr std::size_t kMaxFrameBytes = 64 + kMaxFiles * (18 + kMaxPathBytes);
struct FrameHead {
    FrameKind kind = FrameKind::end;
    std::uint32_t length_bytes = 0;
};
// Refuses kinds there are not and lengths that their kinds cannot have.
Result<FrameHead> parse_frame_head(Bytes head);

std::string encode_chunk_request(std::uint32_t chunk);
std::string encode_contents(std::uint32_t partition, const Contents& contents);
std::string encode_end();

// A contents frame without its head. Refused: another partition than there are, more bytes than
// were written there, more files than were wanted, numbers that do not add up.
struct ReportedContents {
    std::uint32_t partition = 0;
    Contents contents;
};
struct Expected {
    std::vector<std::uint64_t> written_bytes;  // of each partition
    std::uint32_t files = 0;
};
Result<ReportedContents> parse_contents(Bytes payload, const Expected& expected);

}  // namespace goldlink::usage
