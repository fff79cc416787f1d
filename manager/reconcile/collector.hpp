// Reads one daemon's event log for ever (long polls) and stores it: each event once, in order, with
// the cursor moved in the same transaction. One thread of its own, at work while this manager
// leads.
#pragma once

#include <atomic>
#include <thread>

#include "manager/services.hpp"

namespace goldlink::manager {

class Collector {
  public:
    Collector(Services& services, const Peer& source, const std::atomic<bool>& leading);
    ~Collector();
    void start();
    void join();  // after Watch::stop

  private:
    void run();
    // How long to wait before the next round; zero goes on at once.
    std::chrono::milliseconds round();

    Services& services_;
    const Peer& source_;
    const std::atomic<bool>& leading_;
    std::thread thread_;
};

}  // namespace goldlink::manager
