#include "tests/bench/load_measure.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

namespace goldlink::bench {

void die(const std::string& why) {
    fmt::print(stderr, "load_generator: {}\n", why);
    std::exit(1);
}

std::uint64_t now_ns() {
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                          std::chrono::steady_clock::now().time_since_epoch())
                                          .count());
}

double cpu_time_us(int pid) {
    std::ifstream file(fmt::format("/proc/{}/stat", pid));
    std::string line;
    std::getline(file, line);
    const std::size_t after_name = line.rfind(')');
    if (after_name == std::string::npos) die(fmt::format("there is no process {}", pid));
    const char* at = line.c_str() + after_name + 1;
    // Fields 14 and 15 of proc(5); the name is field 2.
    for (int field = 3; field <= 13; ++field) at = std::strchr(at + 1, ' ');
    char* end = nullptr;
    const double ticks = std::strtod(at, &end) + std::strtod(end, nullptr);
    return ticks * 1e6 / static_cast<double>(sysconf(_SC_CLK_TCK));
}

void Histogram::add(std::uint64_t ns) {
    const std::uint64_t value = std::max<std::uint64_t>(ns, 16);
    const auto octave = static_cast<unsigned>(std::bit_width(value)) - 5;
    ++buckets_[octave * 16 + ((value >> octave) & 15)];
    ++count_;
}

double Histogram::quantile_us(double q) const {
    const auto rank = static_cast<std::uint64_t>(q * static_cast<double>(count_));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < buckets_.size(); ++i) {
        seen += buckets_[i];
        if (seen > rank) return static_cast<double>((16 + i % 16) << (i / 16)) / 1000.0;
    }
    return 0;
}

}  // namespace goldlink::bench
