// UDP sockets that know where a datagram came in: the interface and our own address (IP_PKTINFO),
// and that answer from that address. Non-blocking. The owner's thread only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/bytes.hpp"
#include "common/file.hpp"
#include "common/result.hpp"
#include "pxe/ipv4.hpp"

namespace goldlink::pxe {

struct Interface {
    std::string name;
    unsigned index = 0;
    Ipv4 address;
    Ipv4 netmask;
};

// Every IPv4 address of the interfaces that are up, loopback among them. An interface with two
// addresses is there twice.
Result<std::vector<Interface>> list_interfaces();
// Errors: not_found, with what to do: no such interface, or none of its addresses is IPv4.
Result<Interface> find_interface(const std::string& name);
// The interface that has this address; nullopt when it is gone.
std::optional<Interface> interface_with(Ipv4 address);

struct Datagram {
    std::size_t bytes = 0;
    Endpoint source;
    Ipv4 destination;  // as the packet says: one of ours, or a broadcast address
    Ipv4 local;  // ours that it reached; of a broadcast, what the kernel would answer from, which
                 // may be another interface's
    unsigned interface_index = 0;
};

// For a room that is switched on at once: hundreds of requests before the thread gets to run. What
// the system grants is enough when it grants less.
void grow_receive_buffer(int fd);

// Bound to `local`, and to `device` when it is not empty. Errors name the port and what may hold
// it.
Result<FileDescriptor> open_udp(const Endpoint& local, const std::string& device, bool broadcast);
// Connected: only `peer` reaches it. The local port is the system's choice.
Result<FileDescriptor> open_udp_to(Ipv4 local, const Endpoint& peer);

// nullopt: nothing there now. A datagram longer than the buffer is dropped: Datagram::bytes is 0.
Result<std::optional<Datagram>> receive_from(int fd, MutableBytes buffer);
Result<> send_to(int fd, Bytes bytes, const Endpoint& destination, Ipv4 source);

}  // namespace goldlink::pxe
