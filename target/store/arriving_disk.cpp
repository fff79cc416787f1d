#include "target/store/arriving_disk.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <system_error>
#include <utility>
#include <vector>

#include "target/store/raw_import.hpp"

namespace goldlink::store {

namespace {

constexpr std::size_t kHashStepBytes = 1 << 20;
constexpr std::chrono::milliseconds kLookEvery{50};  // at a cancelled import
const std::string kName = "the file that arrives";

}  // namespace

ArrivingDisk::ArrivingDisk(FileDescriptor fd, std::uint64_t file_bytes,
                           std::unique_ptr<ChunkWriter> writer)
    : fd_(std::move(fd)), file_bytes_(file_bytes), writer_(std::move(writer)) {}

Result<> ArrivingDisk::start() {
    try {
        hashing_ = std::thread([this] {
            auto made = hash();
            const std::lock_guard lock(mutex_);
            sha256_ = std::move(made);
            changed_.notify_all();
        });
        storing_ = std::thread([this] {
            const ArrivingFile file{file_bytes_,
                                    [this](std::uint64_t bytes) { return await(bytes); }};
            auto made = import_raw(fd_.get(), kName, *writer_, progress_, &file);
            const std::lock_guard lock(mutex_);
            manifest_ = std::move(made);
            changed_.notify_all();
        });
        return {};
    } catch (const std::system_error& error) {
        return failure(ErrorKind::exhausted, fmt::format("no thread for it: {}", error.what()));
    }
}

ArrivingDisk::~ArrivingDisk() {
    progress_.cancel = true;
    {
        const std::lock_guard lock(mutex_);
        given_up_ = true;
    }
    changed_.notify_all();
    for (std::thread* thread : {&hashing_, &storing_})
        if (thread->joinable()) thread->join();
}

void ArrivingDisk::arrived(std::uint64_t bytes) {
    {
        const std::lock_guard lock(mutex_);
        arrived_bytes_ = std::max(arrived_bytes_, bytes);
    }
    changed_.notify_all();
}

bool ArrivingDisk::is_of(int fd) const {
    struct stat ours {};
    struct stat other {};
    return ::fstat(fd_.get(), &ours) == 0 && ::fstat(fd, &other) == 0 &&
           ours.st_dev == other.st_dev && ours.st_ino == other.st_ino &&
           static_cast<std::uint64_t>(other.st_size) == file_bytes_;
}

Result<> ArrivingDisk::await(std::uint64_t bytes) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return given_up_ || arrived_bytes_ >= bytes; });
    if (given_up_) return failure(ErrorKind::cancelled, "nobody waits for the file any more");
    return {};
}

Result<Digest> ArrivingDisk::hash() {
    std::vector<std::uint8_t> buffer(kHashStepBytes);
    Hasher hasher;
    hasher.start();
    for (std::uint64_t at = 0; at < file_bytes_;) {
        const auto step = std::min<std::uint64_t>(buffer.size(), file_bytes_ - at);
        GOLDLINK_TRY(await(at + step));
        const auto wanted = std::span(buffer).first(static_cast<std::size_t>(step));
        GOLDLINK_TRY_ASSIGN(const std::size_t got, read_at(fd_.get(), wanted, at, kName));
        if (got != step) return failure(ErrorKind::io, kName + " became shorter");
        hasher.add(wanted);
        at += step;
    }
    return hasher.finish();
}

template <typename T>
Result<const T*> ArrivingDisk::wait_for(const std::optional<Result<T>>& made, Progress& progress) {
    std::unique_lock lock(mutex_);
    if (!made && arrived_bytes_ < file_bytes_)
        return failure(ErrorKind::conflict, "the file has not arrived whole");
    while (!made) {
        if (progress.cancel) return failure(ErrorKind::cancelled, "the import was cancelled");
        progress.done_bytes = progress_.done_bytes.load();
        changed_.wait_for(lock, kLookEvery);
    }
    if (!*made) return Failure(made->error());
    return &**made;
}

Result<Digest> ArrivingDisk::sha256(Progress& progress) {
    GOLDLINK_TRY_ASSIGN(const Digest* const digest, wait_for(sha256_, progress));
    return *digest;
}

Result<const Manifest*> ArrivingDisk::manifest(Progress& progress) {
    GOLDLINK_TRY_ASSIGN(const Manifest* const manifest, wait_for(manifest_, progress));
    progress.done_bytes = file_bytes_;
    return manifest;
}

}  // namespace goldlink::store
