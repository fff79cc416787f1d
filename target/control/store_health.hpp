// StoreHealth: watches what is damaged in the image store. Says so in events (image_damaged,
// image_mended), looks again from time to time at what is bad, as a file may have come back, and
// verifies each version and each overlay that is kept (OverlayScrub) once in a while, slowly, and
// slower while clients are busy. One thread of its own.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "common/event_log.hpp"
#include "target/control/link_table.hpp"
#include "target/control/overlay_scrub.hpp"
#include "target/store/image_store.hpp"

namespace goldlink::control {

class StoreHealth {
  public:
    struct Options {
        std::chrono::milliseconds verify_every = std::chrono::hours(7 * 24);  // 0: not
        std::uint64_t verify_bytes_per_second = 64ull << 20;
    };
    StoreHealth(store::ImageStore& store, LinkTable& links, EventLog& events, Options options);
    ~StoreHealth();  // stop()

    // `traffic_bytes` counts what clients have moved so far.
    void start(std::function<std::uint64_t()> traffic_bytes);
    void stop();

  private:
    void run();
    void recheck();
    void verify_one();
    std::string due();
    void keep_pace(std::uint64_t bytes);
    void tell_changes();
    void tell(std::string_view kind, const store::VersionInfo& version);

    store::ImageStore& store_;
    LinkTable& links_;
    EventLog& events_;
    const Options options_;
    std::function<std::uint64_t()> traffic_bytes_;
    std::map<std::string, std::chrono::steady_clock::time_point> waiting_;  // version -> since
    std::chrono::steady_clock::time_point next_read_, next_sample_;
    std::uint64_t seen_traffic_ = 0;
    bool busy_ = false;
    std::uint64_t seen_revision_ = 0;
    std::map<std::string, std::uint64_t> damaged_;  // version -> bad bytes, as last told
    store::Progress progress_;                      // of what runs, to stop it
    OverlayScrub overlays_;

    std::mutex mutex_;
    std::condition_variable changed_;
    bool stopping_ = false;
    std::thread thread_;
};

}  // namespace goldlink::control
