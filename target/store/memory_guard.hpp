// MemoryGuard: a mapping of a file whose pages may turn out not to be there: the file was cut short
// by somebody, or its disk does not give them. Touching such a page is SIGBUS, which would end the
// process with all that it serves. Under a guard the page is zeros of nobody's instead, and the
// guard says from then on that the mapping has failed; its owner asks after it has touched it.
//
// Made and destroyed by the mapping's owner, around the time the mapping exists. The first one
// installs the process's handler; a SIGBUS outside of all guarded mappings ends the process as
// ever.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace goldlink::store {

class MemoryGuard {
  public:
    MemoryGuard(const std::uint8_t* address, std::size_t length);
    ~MemoryGuard();
    MemoryGuard(const MemoryGuard&) = delete;
    MemoryGuard& operator=(const MemoryGuard&) = delete;

    // By the thread that touched it: true when any page was not there.
    bool failed() const { return entry_->failed.load(std::memory_order_relaxed); }

    struct Entry {  // never freed: the handler may look at it at any time
        std::atomic<std::uintptr_t> begin{0}, end{0};
        std::atomic<bool> failed{false};
        std::atomic<Entry*> next{nullptr};
    };

  private:
    Entry* entry_;
};

}  // namespace goldlink::store
