// Arrivals: raw disks among the uploads are stored while they come (store/arriving_disk.hpp), so
// that little is left to do when their import begins. What was stored is let go when its upload is
// imported or dropped, or when nothing came of it for kIdle; an import does without.
// Threads: any that may block.
#pragma once

#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "target/store/arriving_disk.hpp"

namespace goldlink::control {

class Arrivals {
  public:
    static constexpr std::size_t kMaxOpen = 2;  // three threads and 9 MiB each
    static constexpr std::chrono::minutes kIdle{2};

    explicit Arrivals(store::ImageStore& store);
    ~Arrivals();  // lets all go

    // How an upload, or a file of an upload set, is known here.
    static std::string key_of(const std::string& upload, const std::string& file = "");
    // The first `bytes` of the file that `fd` is of are there; it will have `file_bytes`.
    void arrived(const std::string& key, int fd, std::uint64_t bytes, std::uint64_t file_bytes);
    // For the import of it; null when there is none. Nobody else gets it.
    std::shared_ptr<store::ArrivingDisk> take(const std::string& key);
    // All of an upload.
    void drop(const std::string& upload);

  private:
    struct Arrival {
        std::shared_ptr<store::ArrivingDisk> disk;  // null: it is not stored while it comes
        std::chrono::steady_clock::time_point heard;
    };

    std::shared_ptr<store::ArrivingDisk> begin(int fd, std::uint64_t file_bytes);
    void drop_idle();

    store::ImageStore& store_;
    std::mutex mutex_;
    std::condition_variable changed_;
    bool stopping_ = false;
    std::map<std::string, Arrival> arrivals_;
    std::thread watcher_;
};

}  // namespace goldlink::control
