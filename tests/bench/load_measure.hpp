// What a run of the load generator counts: operations, bytes, latencies, and the CPU time of the
// target's process. One thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace goldlink::bench {

// Ends the program: a run that is not whole measures nothing.
[[noreturn]] void die(const std::string& why);

std::uint64_t now_ns();

// User and system time of a process so far, in microseconds.
double cpu_time_us(int pid);

// Latencies in buckets of a sixteenth of an octave.
class Histogram {
  public:
    void add(std::uint64_t ns);
    double quantile_us(double q) const;  // q: 0 to 1

  private:
    std::array<std::uint64_t, 60 * 16> buckets_{};
    std::uint64_t count_ = 0;
};

struct Totals {
    std::uint64_t operations = 0;
    std::uint64_t bytes = 0;
    Histogram latency;
};

}  // namespace goldlink::bench
