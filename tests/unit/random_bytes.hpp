// Contents of disks: pseudo-random bytes, the same for the same seed.
#pragma once

#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

namespace goldlink::test {

using DiskBytes = std::vector<std::uint8_t>;

inline DiskBytes random_bytes(std::size_t length, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    DiskBytes bytes((length + 7) / 8 * 8);
    for (std::size_t at = 0; at < bytes.size(); at += 8) {
        const std::uint64_t word = random();
        std::memcpy(bytes.data() + at, &word, sizeof word);
    }
    bytes.resize(length);
    return bytes;
}

}  // namespace goldlink::test
