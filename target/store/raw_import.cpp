#include "target/store/raw_import.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>
#include <thread>

#include "common/file.hpp"
#include "common/log.hpp"

namespace goldlink::store {

namespace {

constexpr std::uint64_t kStrideBytes = 4ull << 20;

class RawImport {
  public:
    RawImport(int fd, std::uint64_t file_bytes, const std::string& name, ChunkWriter& writer,
              Manifest& manifest, Progress& progress, const ArrivingFile* arriving)
        : fd_(fd),
          file_bytes_(file_bytes),
          name_(name),
          writer_(writer),
          manifest_(manifest),
          progress_(progress),
          arriving_(arriving) {}

    Result<> run() {
        std::thread second;
        try {
            second = std::thread([this] { work(); });
        } catch (const std::system_error& failure) {
            log::warn("{} is read by one thread: {}", name_, failure.what());
        }
        work();
        if (second.joinable()) second.join();
        if (failed_) return Failure(std::move(error_));
        return {};
    }

  private:
    void work() {
        std::vector<std::uint8_t> buffer(kStrideBytes);
        Hasher hasher;
        while (!failed_) {
            const std::uint64_t offset = next_.fetch_add(kStrideBytes);
            if (offset >= file_bytes_) return;
            const std::uint64_t length = std::min(kStrideBytes, file_bytes_ - offset);
            auto done = progress_.cancel
                            ? Result<>(failure(ErrorKind::cancelled, "the import was cancelled"))
                            : stride(offset, length, buffer, hasher);
            if (!done) {
                const std::lock_guard lock(error_mutex_);
                if (!failed_.exchange(true)) error_ = std::move(done).error();
                return;
            }
            progress_.done_bytes += length;
        }
    }

    Result<> stride(std::uint64_t offset, std::uint64_t length, std::vector<std::uint8_t>& buffer,
                    Hasher& hasher) {
        if (arriving_ != nullptr) GOLDLINK_TRY(arriving_->await(offset + length));
        // Where holes are not reported, everything is data.
        const off_t data = ::lseek(fd_, static_cast<off_t>(offset), SEEK_DATA);
        if (data < 0 && errno == ENXIO) return {};
        if (data >= 0 && static_cast<std::uint64_t>(data) >= offset + length) return {};
        GOLDLINK_TRY(read_all(offset, length, buffer));
        std::fill(buffer.begin() + static_cast<std::ptrdiff_t>(length), buffer.end(),
                  std::uint8_t{0});
        std::array<Digest, kStrideBytes / kChunkBytes> digests{};
        std::size_t count = 0;
        for (std::uint64_t at = 0; at < length; at += kChunkBytes) {
            GOLDLINK_TRY_ASSIGN(digests[count++], writer_.store(buffer.data() + at, hasher));
        }
        const std::lock_guard lock(manifest_mutex_);
        for (std::size_t i = 0; i < count; ++i)
            manifest_.chunks.set(offset / kChunkBytes + i, digests[i]);
        return {};
    }

    Result<> read_all(std::uint64_t offset, std::uint64_t length,
                      std::vector<std::uint8_t>& buffer) {
        GOLDLINK_TRY_ASSIGN(
            const std::size_t got,
            read_at(fd_, std::span(buffer).first(static_cast<std::size_t>(length)), offset, name_));
        if (got == length) return {};
        return failure(ErrorKind::invalid,
                       fmt::format("{} became shorter while it was read", name_));
    }

    const int fd_;
    const std::uint64_t file_bytes_;
    const std::string& name_;
    ChunkWriter& writer_;
    std::mutex manifest_mutex_;
    Manifest& manifest_;
    Progress& progress_;
    const ArrivingFile* const arriving_;
    std::atomic<std::uint64_t> next_{0};
    std::atomic<bool> failed_{false};
    std::mutex error_mutex_;
    Error error_;
};

}  // namespace

Result<Manifest> import_raw(int fd, const std::string& name, ChunkWriter& writer,
                            Progress& progress, const ArrivingFile* arriving) {
    struct stat status {};
    if (::fstat(fd, &status) != 0) return system_failure(fmt::format("cannot examine {}", name));
    const auto file_bytes =
        arriving != nullptr ? arriving->file_bytes : static_cast<std::uint64_t>(status.st_size);
    if (file_bytes == 0) return failure(ErrorKind::invalid, fmt::format("{} is empty", name));
    if (file_bytes > kMaxDiskBytes)
        return failure(ErrorKind::invalid,
                       fmt::format("{} has {} bytes, a disk may have at most {}", name, file_bytes,
                                   kMaxDiskBytes));
    Manifest manifest;
    manifest.size_bytes = disk_bytes_of_file(file_bytes);
    manifest.chunks.resize(chunk_count_of(manifest.size_bytes));
    GOLDLINK_TRY(RawImport(fd, file_bytes, name, writer, manifest, progress, arriving).run());
    return manifest;
}

}  // namespace goldlink::store
