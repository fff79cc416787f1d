// Copies of blocks that go past the processor's caches (non-temporal stores): a plain copy first
// reads what it is about to overwrite, and throws out of the cache what is used again. What an
// initiator has written it seldom reads soon: it has a cache of its own. On other processors than
// x86-64 a plain copy. Threads: any.
#pragma once

#include <cstdint>
#include <cstring>

#include "target/disk/overlay_map.hpp"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace goldlink::disk {

// Both kBlockBytes long; `to` at a multiple of 16. Before others are told that the data is there:
// end_streaming().
inline void stream_block(std::uint8_t* to, const std::uint8_t* from) noexcept {
#if defined(__SSE2__)
    auto* const lines = reinterpret_cast<__m128i*>(to);
    const auto* const source = reinterpret_cast<const __m128i*>(from);
    for (std::size_t i = 0; i < kBlockBytes / sizeof(__m128i); i += 4) {
        const __m128i a = _mm_loadu_si128(source + i), b = _mm_loadu_si128(source + i + 1);
        const __m128i c = _mm_loadu_si128(source + i + 2), d = _mm_loadu_si128(source + i + 3);
        _mm_stream_si128(lines + i, a);
        _mm_stream_si128(lines + i + 1, b);
        _mm_stream_si128(lines + i + 2, c);
        _mm_stream_si128(lines + i + 3, d);
    }
#else
    std::memcpy(to, from, kBlockBytes);
#endif
}

inline void end_streaming() noexcept {
#if defined(__SSE2__)
    _mm_sfence();
#endif
}

}  // namespace goldlink::disk
