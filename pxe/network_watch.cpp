#include "pxe/network_watch.hpp"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstdint>

namespace goldlink::pxe {

namespace {

constexpr int kReadsPerWake = 256;

}  // namespace

Result<NetworkWatch> NetworkWatch::open() {
    FileDescriptor fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
    if (!fd) return system_failure("cannot open a netlink socket");
    sockaddr_nl address{};
    address.nl_family = AF_NETLINK;
    address.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR;
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        return system_failure("cannot watch the network interfaces");
    return NetworkWatch(std::move(fd));
}

void NetworkWatch::drain() const {
    std::array<std::uint8_t, 8192> buffer;
    for (int i = 0; i < kReadsPerWake; ++i)
        if (::recv(fd_.get(), buffer.data(), buffer.size(), 0) < 0 && errno != EINTR &&
            errno != ENOBUFS)
            return;
}

}  // namespace goldlink::pxe
