#include "target/usage/reader/disk.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace goldlink::usage {

bool read_all(int fd, MutableBytes bytes) {
    while (!bytes.empty()) {
        const ssize_t n = ::read(fd, bytes.data(), bytes.size());
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
    return true;
}

bool write_all(int fd, Bytes bytes) {
    while (!bytes.empty()) {
        const ssize_t n = ::write(fd, bytes.data(), bytes.size());
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
    return true;
}

Disk::Disk(int socket, std::uint64_t size_bytes, std::uint32_t sector_bytes)
    : socket_(socket), size_bytes_(size_bytes), image_(std::make_unique<Image>()) {
    image_->disk = this;
    tsk_img_open_external(
        &image_->info, static_cast<TSK_OFF_T>(size_bytes), sector_bytes,
        [](TSK_IMG_INFO* info, TSK_OFF_T offset, char* out, std::size_t length) -> ssize_t {
            if (offset < 0) return -1;
            return reinterpret_cast<Image*>(info)->disk->read(
                static_cast<std::uint64_t>(offset), reinterpret_cast<std::uint8_t*>(out), length);
        },
        [](TSK_IMG_INFO*) {}, [](TSK_IMG_INFO*, FILE*) {});
}

Disk::~Disk() { tsk_img_close(&image_->info); }

ssize_t Disk::read(std::uint64_t offset, std::uint8_t* out, std::size_t length) {
    if (offset >= size_bytes_) return -1;
    length = static_cast<std::size_t>(std::min<std::uint64_t>(length, size_bytes_ - offset));
    for (std::size_t done = 0; done < length;) {
        const std::uint64_t at = offset + done, within = at % kChunkBytes;
        const std::size_t here =
            static_cast<std::size_t>(std::min<std::uint64_t>(length - done, kChunkBytes - within));
        const Kept* kept = fetch(at / kChunkBytes);
        if (kept == nullptr) return -1;
        std::copy_n(kept->bytes.begin() + static_cast<std::ptrdiff_t>(within), here, out + done);
        done += here;
    }
    return static_cast<ssize_t>(length);
}

const Disk::Kept* Disk::fetch(std::uint64_t chunk) {
    if (const auto found = by_chunk_.find(chunk); found != by_chunk_.end()) {
        kept_.splice(kept_.begin(), kept_, found->second);
        return &kept_.front();
    }
    const std::string request = encode_chunk_request(static_cast<std::uint32_t>(chunk));
    std::uint8_t status = kChunkUnreadable;
    if (by_chunk_.size() < kKeptChunks) {
        kept_.push_front({chunk, std::vector<std::uint8_t>(kChunkBytes)});
    } else {
        by_chunk_.erase(kept_.back().chunk);
        kept_.splice(kept_.begin(), kept_, std::prev(kept_.end()));
        kept_.front().chunk = chunk;
    }
    if (!write_all(socket_, as_bytes(request)) || !read_all(socket_, {&status, 1}) ||
        !read_all(socket_, kept_.front().bytes))
        ::_exit(1);  // the target has gone
    if (status != kChunkRead) {
        kept_.pop_front();
        ++unreadable_count_;
        return nullptr;
    }
    by_chunk_[chunk] = kept_.begin();
    return &kept_.front();
}

}  // namespace goldlink::usage
