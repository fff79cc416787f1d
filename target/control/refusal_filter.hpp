// RefusalFilter: says which refused logins are worth an event. An initiator that retries every few
// seconds, or a flood, must not push everything else out of the event log: the same refusal is told
// once per kRepeatSeconds, with the number of repeats since. Pure but for the time it is given; the
// caller locks.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>

namespace goldlink::control {

class RefusalFilter {
  public:
    using Time = std::chrono::steady_clock::time_point;
    static constexpr std::chrono::seconds kRepeatSeconds{30};
    static constexpr std::size_t kMaxKeys = 4096;

    // nullopt: do not tell. Else how often it happened unsaid before.
    std::optional<std::uint64_t> admit(const std::string& key, Time now);

  private:
    struct Entry {
        Time told;
        std::uint64_t unsaid = 0;
    };
    std::unordered_map<std::string, Entry> entries_;
    static constexpr std::chrono::seconds kSweepSeconds{
        5};  // a sweep per login would be the flood's aid
    Time swept_;
    Entry overflow_;  // for all keys beyond kMaxKeys together
};

}  // namespace goldlink::control
