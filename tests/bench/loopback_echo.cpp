// loopback_echo: what loopback TCP itself allows. One thread, one epoll: answers each SCSI command
// PDU at once, a read with as many bytes from memory as it expects, a write with a response, all of
// a batch by one sendmsg. No login, no session, no checks: not a target, the limit of one.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <vector>

#include "common/bytes.hpp"
#include "tests/bench/light_socket.hpp"

namespace {

using namespace goldlink;

constexpr std::size_t kHeaderBytes = 48;
constexpr std::size_t kSetBytes = 64u << 20;  // what reads are answered from
constexpr std::size_t kMaxReadBytes = 1u << 20;
constexpr std::size_t kReceiveBytes = 256 * 1024;
constexpr std::uint32_t kWindow = 4096;

struct Peer {
    std::array<std::uint8_t, kHeaderBytes> header{};
    std::size_t header_bytes = 0;
    std::size_t skip = 0;  // data of the PDU whose header is whole
};

class Echo {
  public:
    explicit Echo(int listener)
        : listener_(listener), set_(kSetBytes, 7), received_(kReceiveBytes) {
        epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
        watch(listener_);
    }

    void run() {
        std::array<epoll_event, 64> events;
        for (;;) {
            const int n = ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), -1);
            for (int i = 0; i < n; ++i) {
                const int fd = events[static_cast<std::size_t>(i)].data.fd;
                if (fd == listener_)
                    accept();
                else
                    receive(fd);
            }
        }
    }

  private:
    void watch(int fd) {
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.fd = fd;
        ::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
    }

    void accept() {
        const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) return;
        const int on = 1;
        ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        bench::set_congestion_control(fd);
        peers_[fd] = {};
        watch(fd);
    }

    void receive(int fd) {
        const ssize_t got = ::recv(fd, received_.data(), received_.size(), 0);
        if (got < 0 && errno == EAGAIN) return;
        if (got <= 0) {
            ::close(fd);
            peers_.erase(fd);
            return;
        }
        Peer& peer = peers_[fd];
        replies_.clear();
        headers_.clear();
        // Pointers into it must hold: a batch has at most so many requests.
        headers_.reserve(kReceiveBytes / kHeaderBytes + 2);
        for (Bytes rest(received_.data(), static_cast<std::size_t>(got)); !rest.empty();) {
            if (peer.header_bytes == kHeaderBytes) {
                const std::size_t dropped = std::min(peer.skip, rest.size());
                peer.skip -= dropped;
                rest = rest.subspan(dropped);
            } else {
                const std::size_t taken = std::min(kHeaderBytes - peer.header_bytes, rest.size());
                std::copy_n(rest.data(), taken, peer.header.data() + peer.header_bytes);
                peer.header_bytes += taken;
                rest = rest.subspan(taken);
                if (peer.header_bytes < kHeaderBytes) break;
                peer.skip = load_be24(peer.header.data() + 5);
            }
            if (peer.header_bytes == kHeaderBytes && peer.skip == 0) {
                answer(peer.header);
                peer.header_bytes = 0;
            }
        }
        send(fd);
    }

    void answer(const std::array<std::uint8_t, kHeaderBytes>& request) {
        const bool read = (request[1] & 0x40) != 0;
        const std::size_t bytes =
            read ? std::min<std::size_t>(load_be32(request.data() + 20), kMaxReadBytes) : 0;
        auto& header = headers_.emplace_back();
        header[0] = read ? 0x25 : 0x21;
        header[1] = read ? 0x81 : 0x80;
        store_be24(header.data() + 5, static_cast<std::uint32_t>(bytes));
        std::copy_n(request.data() + 16, 4, header.data() + 16);
        store_be32(header.data() + 32, load_be32(request.data() + 24) + kWindow);
        replies_.push_back({header.data(), kHeaderBytes});
        if (bytes == 0) return;
        const std::uint64_t at = load_be64(request.data() + 34) * 512 % (kSetBytes - bytes + 1);
        replies_.push_back({set_.data() + at, bytes});
    }

    void send(int fd) {
        constexpr std::size_t kVectorsAtOnce = 512;
        for (std::size_t first = 0; first < replies_.size();) {
            msghdr message{};
            message.msg_iov = &replies_[first];
            message.msg_iovlen = std::min(kVectorsAtOnce, replies_.size() - first);
            const ssize_t sent = ::sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (sent < 0 && errno == EAGAIN) {
                pollfd room{fd, POLLOUT, 0};
                ::poll(&room, 1, 1000);
                continue;
            }
            if (sent < 0) return;  // the next recv sees it too
            for (auto left = static_cast<std::size_t>(sent); left > 0;) {
                iovec& vector = replies_[first];
                const std::size_t taken = std::min(left, vector.iov_len);
                vector.iov_base = static_cast<std::uint8_t*>(vector.iov_base) + taken;
                vector.iov_len -= taken;
                left -= taken;
                if (vector.iov_len == 0) ++first;
            }
        }
    }

    int listener_;
    int epoll_ = -1;
    std::vector<std::uint8_t> set_;
    std::vector<std::uint8_t> received_;
    std::map<int, Peer> peers_;
    std::vector<std::array<std::uint8_t, kHeaderBytes>> headers_;
    std::vector<iovec> replies_;
};

}  // namespace

// Prints "ready PORT" and serves until it is told to end.
int main() {
    const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* const generic = reinterpret_cast<sockaddr*>(&address);
    if (listener < 0 || ::bind(listener, generic, length) != 0 || ::listen(listener, 1024) != 0 ||
        ::getsockname(listener, generic, &length) != 0) {
        std::perror("loopback_echo");
        return 1;
    }
    std::printf("ready %d\n", ntohs(address.sin_port));
    std::fflush(stdout);
    Echo(listener).run();
}
