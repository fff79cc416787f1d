// Which seeds a simulation runs: GOLDLINK_SIM_SEED=n that one alone, GOLDLINK_SIM_SEEDS=n the first
// n, GOLDLINK_SIM_FIRST=n from that one on.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <numeric>
#include <vector>

namespace goldlink::sim {

inline std::vector<std::uint64_t> seeds(std::uint64_t otherwise) {
    const auto number = [](const char* name, std::uint64_t fallback) {
        const char* value = std::getenv(name);
        return value == nullptr ? fallback : std::strtoull(value, nullptr, 10);
    };
    const std::uint64_t only = number("GOLDLINK_SIM_SEED", 0);
    if (only != 0) return {only};
    std::vector<std::uint64_t> all(number("GOLDLINK_SIM_SEEDS", otherwise));
    std::iota(all.begin(), all.end(), number("GOLDLINK_SIM_FIRST", 1));
    return all;
}

}  // namespace goldlink::sim
