// The disk that is looked into, as the reader sees it: chunks asked for over the socket, some kept,
// and the image that libtsk reads them through. One thread.
#pragma once

#include <tsk/libtsk.h>

#include <cstdint>
#include <list>
#include <memory>
#include <unordered_map>
#include <vector>

#include "target/usage/messages.hpp"

namespace goldlink::usage {

// Whole or false, when the target has gone: then nobody wants us any more.
bool read_all(int fd, MutableBytes bytes);
bool write_all(int fd, Bytes bytes);

class Disk {
  public:
    static constexpr std::size_t kKeptChunks = 2048;  // 128 MiB

    Disk(int socket, std::uint64_t size_bytes, std::uint32_t sector_bytes);
    Disk(const Disk&) = delete;
    Disk& operator=(const Disk&) = delete;
    ~Disk();

    TSK_IMG_INFO* image() { return &image_->info; }
    // Bytes read; fewer at the disk's end, -1 when they cannot be read.
    ssize_t read(std::uint64_t offset_bytes, std::uint8_t* out, std::size_t length);
    std::uint64_t unreadable_count() const { return unreadable_count_; }

  private:
    // What libtsk calls an external image begins with its own structure.
    struct Image {
        TSK_IMG_INFO info;
        Disk* disk;
    };
    struct Kept {
        std::uint64_t chunk;
        std::vector<std::uint8_t> bytes;
    };
    const Kept* fetch(std::uint64_t chunk);  // null: cannot be read

    const int socket_;
    const std::uint64_t size_bytes_;
    std::unique_ptr<Image> image_;
    std::list<Kept> kept_;  // used last first
    std::unordered_map<std::uint64_t, std::list<Kept>::iterator> by_chunk_;
    std::uint64_t unreadable_count_ = 0;
};

}  // namespace goldlink::usage
