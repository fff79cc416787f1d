// What we tell the service manager that started us (sd_notify(3)): that clients are served, how it
// stands, that we live (WatchdogSec=), that we stop. Without NOTIFY_SOCKET nothing happens.
// One thread.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace goldlink::up {

class ServiceManager {
  public:
    // Reads the environment and takes the variables out of it: our children are none of its.
    // Before any thread is started.
    ServiceManager();

    void serves(std::string_view status);  // READY=1, the first time
    void status(std::string_view status);
    void stopping();
    // To be called often; tells at most three times in the time it wants to hear of us.
    void lives();

  private:
    void send(const std::string& message) const;

    std::string socket_;
    std::chrono::microseconds watchdog_{0};  // 0: it does not watch
    std::chrono::steady_clock::time_point told_{};
    std::string last_status_;
    bool ready_ = false;
};

}  // namespace goldlink::up
