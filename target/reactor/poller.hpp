// Poller: the sockets a reactor watches itself, by one level-triggered epoll set. Its own
// descriptor is watched by the reactor's io_context, so that sleeping covers both. One thread.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstddef>

#include "common/file.hpp"
#include "common/result.hpp"

namespace goldlink::reactor {

// Someone whose socket is watched.
class Pollable {
  public:
    virtual ~Pollable() = default;
    // May unwatch and destroy any pollable, itself included. Hang-ups and errors count as readable.
    virtual void ready(bool readable, bool writable) = 0;
};

class Poller {
  public:
    Poller();

    Result<> watch(int fd, Pollable& pollable, bool readable, bool writable);
    void change(int fd, Pollable& pollable, bool readable, bool writable);
    void unwatch(int fd, Pollable& pollable);  // before the descriptor is closed

    // Tells every ready pollable, without waiting; returns how many there were.
    std::size_t poll();

    int descriptor() const { return epoll_.get(); }

  private:
    static constexpr std::size_t kMaxEvents = 128;

    FileDescriptor epoll_;
    std::array<epoll_event, kMaxEvents> events_;
    std::size_t next_ = 0;  // of the events being told
    std::size_t count_ = 0;
};

}  // namespace goldlink::reactor
