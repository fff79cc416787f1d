#include "target/control/arrivals.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "common/file.hpp"
#include "common/image_magic.hpp"
#include "common/log.hpp"

namespace goldlink::control {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxKnown = 256;

// By its first bytes alone: that a VHD's footer follows is seen when all is there.
bool is_raw(int fd, std::uint64_t file_bytes) {
    std::vector<std::uint8_t> first(
        static_cast<std::size_t>(std::min<std::uint64_t>(kMagicFirstBytes, file_bytes)));
    const auto got = read_at(fd, first, 0, "the upload");
    return got && *got == first.size() && image_magic(first, {}, "").empty() &&
           compression_magic(first).empty() && archive_magic(first).empty();
}

}  // namespace

Arrivals::Arrivals(store::ImageStore& store) : store_(store), watcher_([this] { drop_idle(); }) {}

Arrivals::~Arrivals() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_all();
    watcher_.join();
}

std::string Arrivals::key_of(const std::string& upload, const std::string& file) {
    return upload + "/" + file;
}

void Arrivals::arrived(const std::string& key, int fd, std::uint64_t bytes,
                       std::uint64_t file_bytes) {
    std::shared_ptr<store::ArrivingDisk> disk;
    {
        const std::lock_guard lock(mutex_);
        auto found = arrivals_.find(key);
        if (found == arrivals_.end()) {
            if (arrivals_.size() >= kMaxKnown) return;
            found = arrivals_.emplace(key, Arrival{begin(fd, file_bytes), {}}).first;
            changed_.notify_all();
        }
        found->second.heard = Clock::now();
        disk = found->second.disk;
    }
    if (disk) disk->arrived(bytes);
}

// With mutex_ held.
std::shared_ptr<store::ArrivingDisk> Arrivals::begin(int fd, std::uint64_t file_bytes) {
    const auto open = std::count_if(arrivals_.begin(), arrivals_.end(),
                                    [](const auto& entry) { return entry.second.disk != nullptr; });
    if (static_cast<std::size_t>(open) >= kMaxOpen || !is_raw(fd, file_bytes)) return nullptr;
    // Opened anew: a duplicate would keep the lock of the request that sends the file.
    FileDescriptor own(::open(fmt::format("/proc/self/fd/{}", fd).c_str(), O_RDONLY | O_CLOEXEC));
    if (!own) return nullptr;
    auto disk = store_.begin_arrival(std::move(own), file_bytes);
    if (!disk) {
        log::info("an upload is stored when it is here, not while it comes: {}",
                  disk.error().message);
        return nullptr;
    }
    return std::move(*disk);
}

std::shared_ptr<store::ArrivingDisk> Arrivals::take(const std::string& key) {
    const std::lock_guard lock(mutex_);
    const auto found = arrivals_.find(key);
    if (found == arrivals_.end()) return nullptr;
    auto disk = std::move(found->second.disk);
    arrivals_.erase(found);
    return disk;
}

void Arrivals::drop(const std::string& upload) {
    std::vector<Arrival> gone;  // let go after the lock: it may sweep
    const std::lock_guard lock(mutex_);
    const std::string prefix = key_of(upload);
    for (auto entry = arrivals_.lower_bound(prefix);
         entry != arrivals_.end() && entry->first.starts_with(prefix);) {
        gone.push_back(std::move(entry->second));
        entry = arrivals_.erase(entry);
    }
}

void Arrivals::drop_idle() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
        if (arrivals_.empty())
            changed_.wait(lock);  // nothing is done while nothing comes
        else
            changed_.wait_for(lock, kIdle / 4);
        std::vector<Arrival> gone;
        std::erase_if(arrivals_, [&](auto& entry) {
            if (entry.second.heard > Clock::now() - kIdle) return false;
            gone.push_back(std::move(entry.second));
            return true;
        });
        lock.unlock();
        gone.clear();  // it may sweep
        lock.lock();
    }
}

}  // namespace goldlink::control
