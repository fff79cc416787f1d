// DiskScan: a raw disk read once, in order, and cut into hashed chunks by a thread of its own, a
// window ahead of whoever uses them. Holes are not read. A chunk's digest and its bytes are of the
// same read, whatever happens to the disk meanwhile. Memory: two windows of 32 MiB.
// Threads: next() belongs to one; the destructor ends the other.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "common/manifest.hpp"

namespace goldlink::cli {

class DiskScan {
  public:
    static constexpr std::size_t kWindowChunks = 512;

    struct Window {
        std::uint64_t first_chunk = 0;
        std::vector<Digest> digests;      // all zero of a chunk of zeros, as in a manifest
        std::vector<std::uint8_t> bytes;  // of the chunks that are not zero
        Bytes chunk(std::size_t index) const {
            return Bytes(bytes).subspan(index * kChunkBytes, kChunkBytes);
        }
    };

    // `fd` stays open while this lives and has `file_bytes`; what the disk has past them is zeros.
    // `name` is for messages.
    DiskScan(int fd, std::string name, std::uint64_t file_bytes, std::uint64_t disk_bytes);
    ~DiskScan();

    // The next window, which is there until the next call; null after the last.
    Result<const Window*> next();

  private:
    void work();
    Result<> fill(Window& window, std::uint64_t first_chunk);
    Result<> read(std::uint64_t offset, std::uint64_t length, std::uint8_t* to) const;
    std::uint64_t data_from(std::uint64_t offset) const;

    const int fd_;
    const std::string name_;
    const std::uint64_t file_bytes_, chunk_count_;
    Hasher hasher_;  // the thread's

    std::mutex mutex_;  // guards what follows
    std::condition_variable changed_;
    std::array<Window, 2> windows_;  // each is the thread's or the caller's
    std::uint64_t filled_ = 0, taken_ = 0, given_back_ = 0;
    bool stopping_ = false, ended_ = false;
    Result<> result_;

    std::thread thread_;
};

}  // namespace goldlink::cli
