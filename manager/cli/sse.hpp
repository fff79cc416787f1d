// Server-sent events (HTML standard, section 9.2), as far as the manager sends them: `id`, `data`,
// comments. Pure; bytes may come cut anywhere.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace goldlink::cli {

class SseParser {
  public:
    struct Event {
        std::string id;
        std::string data;
    };

    // Feeds bytes; calls `on_event` for each finished event that has data, until it returns false.
    // Returns false then, or when one event grows beyond 1 MiB.
    bool feed(std::string_view bytes, const std::function<bool(const Event&)>& on_event);

  private:
    void take_line(std::string_view line);

    std::string rest_;
    Event event_;
    bool has_data_ = false;
};

}  // namespace goldlink::cli
