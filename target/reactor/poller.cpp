#include "target/reactor/poller.hpp"

#include <cerrno>

#include "common/check.hpp"

namespace goldlink::reactor {

namespace {

epoll_event event_for(Pollable& pollable, bool readable, bool writable) {
    epoll_event event{};
    event.events = (readable ? EPOLLIN | EPOLLRDHUP : 0U) | (writable ? EPOLLOUT : 0U);
    event.data.ptr = &pollable;
    return event;
}

}  // namespace

Poller::Poller() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
    CHECK(epoll_, "epoll_create1 fails; raise the limit of open files");
}

Result<> Poller::watch(int fd, Pollable& pollable, bool readable, bool writable) {
    epoll_event event = event_for(pollable, readable, writable);
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0)
        return system_failure("cannot watch a connection");
    return {};
}

void Poller::change(int fd, Pollable& pollable, bool readable, bool writable) {
    epoll_event event = event_for(pollable, readable, writable);
    CHECK(::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) == 0,
          "the descriptor is not watched");
}

void Poller::unwatch(int fd, Pollable& pollable) {
    CHECK(::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr) == 0,
          "the descriptor is not watched");
    // It may be destroyed before its turn in the round under way.
    for (std::size_t i = next_; i < count_; ++i)
        if (events_[i].data.ptr == &pollable) events_[i].data.ptr = nullptr;
}

std::size_t Poller::poll() {
    const int found = ::epoll_wait(epoll_.get(), events_.data(), static_cast<int>(kMaxEvents), 0);
    if (found <= 0) return 0;
    count_ = static_cast<std::size_t>(found);
    for (next_ = 0; next_ < count_;) {
        const epoll_event event = events_[next_++];
        if (event.data.ptr == nullptr) continue;
        const bool readable = (event.events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
        const bool writable = (event.events & EPOLLOUT) != 0;
        static_cast<Pollable*>(event.data.ptr)->ready(readable, writable);
    }
    const std::size_t told = count_;
    count_ = next_ = 0;
    return told;
}

}  // namespace goldlink::reactor
