// StoreOpening: brings a store into use that could not be at the start. Looks every two seconds
// whether it can be now (its disk was mounted, its index put back or made anew); then links that
// waited for their versions open, and tasks begin. One thread of its own while there is need.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

#include "target/control/link_table.hpp"
#include "target/control/task_queue.hpp"
#include "target/store/standby_store.hpp"

namespace goldlink::control {

class StoreOpening {
  public:
    StoreOpening(store::StandbyStore& store, LinkTable& links, TaskQueue& tasks)
        : store_(store), links_(links), tasks_(tasks) {}
    ~StoreOpening() { stop(); }

    void start();  // starts the tasks, at once when the store is usable
    void stop();   // before the tasks are stopped

  private:
    void run();

    store::StandbyStore& store_;
    LinkTable& links_;
    TaskQueue& tasks_;
    std::mutex mutex_;
    std::condition_variable changed_;
    bool stopping_ = false;
    std::thread thread_;
};

}  // namespace goldlink::control
