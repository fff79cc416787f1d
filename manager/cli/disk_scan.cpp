#include "manager/cli/disk_scan.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "common/file.hpp"

namespace goldlink::cli {

DiskScan::DiskScan(int fd, std::string name, std::uint64_t file_bytes, std::uint64_t disk_bytes)
    : fd_(fd),
      name_(std::move(name)),
      file_bytes_(std::min(file_bytes, disk_bytes)),
      chunk_count_(chunk_count_of(disk_bytes)),
      thread_([this] { work(); }) {}

DiskScan::~DiskScan() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
}

Result<const DiskScan::Window*> DiskScan::next() {
    std::unique_lock lock(mutex_);
    given_back_ = taken_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return filled_ > taken_ || ended_; });
    if (filled_ == taken_) {
        if (!result_) return Failure(result_.error());
        return nullptr;
    }
    return &windows_[taken_++ % windows_.size()];
}

void DiskScan::work() {
    std::unique_lock lock(mutex_);
    for (std::uint64_t chunk = 0; chunk < chunk_count_ && result_; chunk += kWindowChunks) {
        changed_.wait(lock,
                      [this] { return stopping_ || filled_ - given_back_ < windows_.size(); });
        if (stopping_) break;
        Window& window = windows_[filled_ % windows_.size()];
        lock.unlock();
        auto done = fill(window, chunk);
        lock.lock();
        result_ = std::move(done);
        if (result_) ++filled_;
        changed_.notify_all();
    }
    ended_ = true;
    changed_.notify_all();
}

// Where the next byte that is no hole's lies. Where holes are not reported, everything is data.
std::uint64_t DiskScan::data_from(std::uint64_t offset) const {
    if (offset >= file_bytes_) return file_bytes_;
    const off_t data = ::lseek(fd_, static_cast<off_t>(offset), SEEK_DATA);
    if (data >= 0) return static_cast<std::uint64_t>(data);
    return errno == ENXIO ? file_bytes_ : offset;
}

Result<> DiskScan::fill(Window& window, std::uint64_t first_chunk) {
    const auto count = static_cast<std::size_t>(
        std::min<std::uint64_t>(kWindowChunks, chunk_count_ - first_chunk));
    window.first_chunk = first_chunk;
    window.digests.assign(count, Digest{});
    const std::uint64_t begin = first_chunk * kChunkBytes;
    const std::uint64_t end = std::min(begin + count * kChunkBytes, file_bytes_);
    const std::uint64_t data = data_from(begin);
    if (data >= end) return {};
    window.bytes.resize(kWindowChunks * kChunkBytes);
    const auto skipped = static_cast<std::size_t>((data - begin) / kChunkBytes);
    const std::uint64_t from = begin + skipped * kChunkBytes;
    std::uint8_t* const bytes = window.bytes.data();
    GOLDLINK_TRY(read(from, end - from, bytes + (from - begin)));
    std::fill(bytes + (end - begin), bytes + count * kChunkBytes, std::uint8_t{0});
    for (std::size_t i = skipped; i < count; ++i)
        if (const Bytes chunk = window.chunk(i); !all_zero(chunk))
            window.digests[i] = hasher_.hash(chunk);
    return {};
}

Result<> DiskScan::read(std::uint64_t offset, std::uint64_t length, std::uint8_t* to) const {
    GOLDLINK_TRY_ASSIGN(
        const std::size_t got,
        read_at(fd_, std::span(to, static_cast<std::size_t>(length)), offset, name_));
    if (got == length) return {};
    return failure(ErrorKind::conflict,
                   fmt::format("{} became shorter while it was read: it had {} bytes and "
                               "ends after {} now; stop what changes it, then repeat the "
                               "command",
                               name_, file_bytes_, offset + got));
}

}  // namespace goldlink::cli
