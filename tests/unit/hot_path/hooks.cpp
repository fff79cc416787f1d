#include "tests/unit/hot_path/hooks.hpp"

#include <dlfcn.h>
#include <pthread.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <typeinfo>

namespace goldlink::hot_path {

namespace {

thread_local constinit Counts seen;
thread_local constinit bool counting = false;

template <typename Function>
Function* real(const char* name) {
    void* found = ::dlsym(RTLD_NEXT, name);
    if (found == nullptr) std::abort();
    return reinterpret_cast<Function*>(found);
}

void count(std::uint64_t Counts::*what) {
    if (counting) ++(seen.*what);
}

}  // namespace

void start_counting() {
    seen = {};
    counting = true;
}

Counts stop_counting() {
    counting = false;
    return seen;
}

}  // namespace goldlink::hot_path

using goldlink::hot_path::count;
using goldlink::hot_path::Counts;
using goldlink::hot_path::real;

// glibc's own names of its allocator; dlsym allocates, so it cannot be asked for these.
extern "C" {
void* __libc_malloc(std::size_t bytes) noexcept;
void* __libc_calloc(std::size_t count, std::size_t bytes) noexcept;
void* __libc_realloc(void* memory, std::size_t bytes) noexcept;
void* __libc_memalign(std::size_t alignment, std::size_t bytes) noexcept;

void* malloc(std::size_t bytes) noexcept {
    count(&Counts::allocations);
    return __libc_malloc(bytes);
}

void* calloc(std::size_t members, std::size_t bytes) noexcept {
    count(&Counts::allocations);
    return __libc_calloc(members, bytes);
}

void* realloc(void* memory, std::size_t bytes) noexcept {
    count(&Counts::allocations);
    return __libc_realloc(memory, bytes);
}

void* aligned_alloc(std::size_t alignment, std::size_t bytes) noexcept {
    count(&Counts::allocations);
    return __libc_memalign(alignment, bytes);
}

void* memalign(std::size_t alignment, std::size_t bytes) noexcept {
    count(&Counts::allocations);
    return __libc_memalign(alignment, bytes);
}

int posix_memalign(void** memory, std::size_t alignment, std::size_t bytes) noexcept {
    count(&Counts::allocations);
    *memory = __libc_memalign(alignment, bytes);
    return *memory == nullptr ? ENOMEM : 0;
}

int pthread_mutex_lock(pthread_mutex_t* mutex) noexcept {
    static auto* const next = real<int(pthread_mutex_t*)>("pthread_mutex_lock");
    count(&Counts::locks);
    return next(mutex);
}

int pthread_mutex_trylock(pthread_mutex_t* mutex) noexcept {
    static auto* const next = real<int(pthread_mutex_t*)>("pthread_mutex_trylock");
    count(&Counts::locks);
    return next(mutex);
}

int pthread_rwlock_rdlock(pthread_rwlock_t* lock) noexcept {
    static auto* const next = real<int(pthread_rwlock_t*)>("pthread_rwlock_rdlock");
    count(&Counts::locks);
    return next(lock);
}

int pthread_rwlock_wrlock(pthread_rwlock_t* lock) noexcept {
    static auto* const next = real<int(pthread_rwlock_t*)>("pthread_rwlock_wrlock");
    count(&Counts::locks);
    return next(lock);
}

[[noreturn]] void __cxa_throw(void* thrown, std::type_info* type, void (*destroy)(void*)) {
    static auto* const next = real<void(void*, std::type_info*, void (*)(void*))>("__cxa_throw");
    count(&Counts::exceptions);
    next(thrown, type, destroy);
    std::abort();
}
}
