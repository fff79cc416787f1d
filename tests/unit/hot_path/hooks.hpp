// What this thread did since start_counting(): allocations (malloc and everything above it), locks
// (pthread mutexes and rwlocks, so std::mutex as well) and exceptions thrown. The binary's own
// malloc, pthread_mutex_lock and so on count and then call the real ones, so calls from every
// library are seen. Not for builds with a sanitizer, which brings its own.
#pragma once

#include <cstdint>

namespace goldlink::hot_path {

struct Counts {
    std::uint64_t allocations = 0;
    std::uint64_t locks = 0;
    std::uint64_t exceptions = 0;
};

void start_counting();
Counts stop_counting();

}  // namespace goldlink::hot_path
