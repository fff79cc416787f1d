// Looks into a disk: what its overlay holds by partition, which is counted here, and by file, which
// a child says that reads file systems (goldlink-usage-reader, over libtsk). The child is in the
// sandbox, opens no file, and gets the disk's bytes from us, 64 KiB at a time. It parses what a
// client wrote, so it may be anybody's: its output is bounded, checked, and worth nothing where it
// cannot be true. What it does not say in time is missing, and said to be. Threads: any; blocks.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/result.hpp"
#include "target/usage/messages.hpp"

namespace goldlink::usage {

struct LookOptions {
    std::vector<std::string> program;  // argv; argv[0] is a path
    // When set, runs in the forked process instead of it, its socket as descriptor 0: for tests.
    std::function<int()> work{};
    std::chrono::milliseconds deadline{60000};
    const std::atomic<bool>* cancel = nullptr;  // null: nobody cancels
    std::uint64_t memory_bytes = 1ull << 30;    // beside what it needs for the written blocks
};

struct DiskToLook {
    std::uint64_t disk_bytes = 0;
    std::uint32_t sector_bytes = 512;
    WrittenBlocks written;
    // Fills 64 KiB of the disk; zeros past its end. Called on the caller's thread.
    std::function<Result<>(std::uint64_t chunk, std::uint8_t* data)> read_chunk;
};

// An error only when it was cancelled; all else that goes wrong is said in the answer, which always
// has the partitions and what was written to each.
Result<DiskUse> look_into(const DiskToLook& disk, std::uint32_t files, const LookOptions& options);

// The reader that lies beside the running program.
std::vector<std::string> reader_program();

}  // namespace goldlink::usage
