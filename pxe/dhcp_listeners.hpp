// What the DHCP service listens on: for each interface UDP 67, 4011 and router solicitations. It
// follows the interfaces: one that is removed and made again is another to the kernel, and a socket
// bound to the first stays deaf. An interface without an address is listened on, but has nothing to
// answer from.
//
// As ProxyDHCP port 67 is watched, not held (packet_port.hpp); as the DHCP server it is held.
// Threads: the DHCP thread's, but for served() and problems().
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/problems.hpp"
#include "common/result.hpp"
#include "pxe/network_watch.hpp"
#include "pxe/packet_port.hpp"
#include "pxe/udp.hpp"

namespace goldlink::pxe {

struct DhcpListener {
    std::string interface;
    unsigned index = 0;
    std::vector<Interface> addresses;        // may be empty
    std::optional<PacketPort> watched_port;  // 67 of ProxyDHCP, or
    FileDescriptor server_port;              // 67
    FileDescriptor boot_server_port;         // 4011
    FileDescriptor solicitations;            // none where the kernel has no IPv6
};

class DhcpListeners {
  public:
    using Time = std::chrono::steady_clock::time_point;

    // `names`: the interfaces; empty: every one that is up with an IPv4 address, whenever it is.
    // Errors: one of them cannot be listened on now, or there is none.
    static Result<std::unique_ptr<DhcpListeners>> open(std::vector<std::string> names, bool proxy);

    // To be called when descriptor() can be read, and at next_try().
    void follow(Time now);
    int descriptor() const { return watch_.descriptor(); }
    std::optional<Time> next_try() const { return next_try_; }

    const std::vector<std::unique_ptr<DhcpListener>>& all() const { return listeners_; }
    const DhcpListener* find(const std::string& interface) const;
    // The address of ours to answer from; empty: there is none, and nothing is to be answered.
    Ipv4 answer_from(const DhcpListener& listener, const Datagram& datagram) const;

    // Threads: any.
    std::vector<std::string> served() const;
    std::vector<Problem> problems() const;

  private:
    DhcpListeners(std::vector<std::string> names, bool proxy, NetworkWatch watch)
        : names_(std::move(names)), proxy_(proxy), watch_(std::move(watch)) {}
    Result<> list();
    std::vector<std::string> wanted() const;
    Result<std::unique_ptr<DhcpListener>> listen(const std::string& name) const;
    std::vector<Interface> addresses_of(const std::string& name) const;
    void drop_gone(const std::vector<std::string>& wanted);
    void publish(std::vector<Problem> problems);

    const std::vector<std::string> names_;
    const bool proxy_;
    NetworkWatch watch_;
    std::vector<Interface> present_;  // every address of this machine
    std::vector<std::unique_ptr<DhcpListener>> listeners_;
    std::optional<Time> next_try_;

    mutable std::mutex mutex_;  // of what follows
    std::vector<std::string> served_;
    std::vector<Problem> problems_;
};

}  // namespace goldlink::pxe
