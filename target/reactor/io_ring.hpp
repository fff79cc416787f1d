// IoRing: asynchronous file I/O for one reactor: io_uring with its eventfd watched by Asio, or,
// where io_uring is refused, a small thread pool behind the same interface; the simulation is the
// third implementation. Used and completed on the reactor's thread only.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>

namespace boost::asio {
class io_context;
}

namespace goldlink::reactor {

// One operation in flight. The owner keeps it, its iovecs and buffers in place until `complete`.
struct IoOperation {
    // data_sync: a file's data, and what is needed to read it. full_sync: of a folder, whose names
    // a data_sync may leave in memory.
    enum class Kind : std::uint8_t { read, write, data_sync, full_sync };
    Kind kind = Kind::read;
    int fd = -1;
    std::uint64_t offset_bytes = 0;
    const iovec* vectors = nullptr;
    unsigned vector_count = 0;
    std::int64_t result = 0;  // bytes done, or -errno. Short counts are possible
    void (*complete)(IoOperation& operation) noexcept = nullptr;
    void* owner = nullptr;
    IoOperation* next = nullptr;  // the ring's queue, when it is full
};

class IoRing {
  public:
    virtual ~IoRing() = default;
    virtual void submit(IoOperation& operation) noexcept = 0;  // never completes inline
    virtual std::size_t in_flight() const = 0;
    virtual const char* kind() const = 0;  // "io_uring", "threads", "simulation"
};

// io_uring where the kernel lets us, else threads. GOLDLINK_IO=threads in the environment takes
// threads in any case.
std::unique_ptr<IoRing> make_io_ring(boost::asio::io_context& context);

}  // namespace goldlink::reactor
