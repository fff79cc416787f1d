// Admission: which connections may come in: a total, a number per source address and a rate of
// logins per source address (a token bucket). Pure but for its mutex: connections are admitted on
// the accepting reactor and released on their own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>

namespace goldlink::iscsi {

class Admission {
  public:
    struct Limits {
        std::size_t total;
        std::size_t per_address;
        unsigned logins_per_second;  // per address; twice as many at once
    };
    enum class Answer : std::uint8_t { admitted, too_many, too_many_of_address, too_fast };

    explicit Admission(Limits limits) : limits_(limits) {}

    // An admitted connection must be released once.
    Answer admit(const std::string& address, std::uint64_t now_ms);
    void release(const std::string& address);

    // Forgets addresses that have no connection and have not come for a while.
    void expire(std::uint64_t now_ms);

    std::size_t connections() const;

  private:
    struct Source {
        std::size_t connections = 0;
        double tokens = 0;
        std::uint64_t filled_ms = 0;
    };

    Limits limits_;
    mutable std::mutex mutex_;
    std::unordered_map<std::string, Source> sources_;
    std::size_t total_ = 0;
};

}  // namespace goldlink::iscsi
