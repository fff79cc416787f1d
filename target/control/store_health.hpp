// StoreHealth: watches what is damaged in the image store. Says so in events (image_damaged,
// image_mended), and looks again from time to time at what is bad: a file may have come back.
// One thread of its own.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "common/event_log.hpp"
#include "target/control/link_table.hpp"
#include "target/store/image_store.hpp"

namespace goldlink::control {

class StoreHealth {
  public:
    StoreHealth(store::ImageStore& store, LinkTable& links, EventLog& events);
    ~StoreHealth();  // stop()

    void start();
    void stop();

  private:
    void run();
    void tell_changes();
    void tell(std::string_view kind, const store::VersionInfo& version);

    store::ImageStore& store_;
    LinkTable& links_;
    EventLog& events_;
    std::uint64_t seen_revision_ = 0;
    std::map<std::string, std::uint64_t> damaged_;  // version -> bad bytes, as last told
    store::Progress progress_;                      // of what runs, to stop it

    std::mutex mutex_;
    std::condition_variable changed_;
    bool stopping_ = false;
    std::thread thread_;
};

}  // namespace goldlink::control
