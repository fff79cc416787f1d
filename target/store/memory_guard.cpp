#include "target/store/memory_guard.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <mutex>

namespace goldlink::store {

namespace {

std::atomic<MemoryGuard::Entry*> guarded{nullptr};  // a list that only grows
std::mutex entries_mutex;                           // who takes or gives back an entry

MemoryGuard::Entry* find(std::uintptr_t address) {
    for (auto* entry = guarded.load(std::memory_order_acquire); entry != nullptr;
         entry = entry->next.load(std::memory_order_acquire)) {
        const std::uintptr_t begin = entry->begin.load(std::memory_order_acquire);
        if (begin != 0 && address >= begin && address < entry->end.load(std::memory_order_acquire))
            return entry;
    }
    return nullptr;
}

// On the thread that touched the page. mmap is a system call and nothing else.
void on_bus_error(int, siginfo_t* info, void*) {
    const int saved_errno = errno;
    const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
    const auto page_bytes = static_cast<std::uintptr_t>(4096);
    const std::uintptr_t page = address / page_bytes * page_bytes;
    MemoryGuard::Entry* const entry = info->si_code > 0 ? find(address) : nullptr;
    if (entry != nullptr &&
        ::mmap(reinterpret_cast<void*>(page), page_bytes, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED) {
        entry->failed.store(true, std::memory_order_relaxed);
        errno = saved_errno;
        return;
    }
    // None of ours: the same access again, without us, ends the process as it should.
    std::signal(SIGBUS, SIG_DFL);
    if (info->si_code <= 0) ::raise(SIGBUS);
}

void install() {
    struct sigaction action {};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigemptyset(&action.sa_mask);
    ::sigaction(SIGBUS, &action, nullptr);
}

}  // namespace

MemoryGuard::MemoryGuard(const std::uint8_t* address, std::size_t length) {
    const std::lock_guard lock(entries_mutex);
    static const bool installed = (install(), true);
    (void)installed;
    entry_ = guarded.load(std::memory_order_acquire);
    while (entry_ != nullptr && entry_->begin.load(std::memory_order_relaxed) != 0)
        entry_ = entry_->next.load(std::memory_order_acquire);
    const bool is_new = entry_ == nullptr;
    if (is_new) entry_ = new Entry;
    const auto begin = reinterpret_cast<std::uintptr_t>(address);
    entry_->failed.store(false, std::memory_order_relaxed);
    entry_->end.store(begin + length, std::memory_order_release);
    entry_->begin.store(begin, std::memory_order_release);
    if (!is_new) return;
    entry_->next.store(guarded.load(std::memory_order_relaxed), std::memory_order_relaxed);
    guarded.store(entry_, std::memory_order_release);
}

MemoryGuard::~MemoryGuard() {
    const std::lock_guard lock(entries_mutex);
    entry_->begin.store(0, std::memory_order_release);
}

}  // namespace goldlink::store
