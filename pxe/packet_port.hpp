// A UDP port of one interface that is watched without being held: what comes in is copied by a
// packet socket, and answers go out by a raw one. So ProxyDHCP stands beside a DHCP server on the
// same machine, whichever starts first, and takes no packet away from it. Needs CAP_NET_RAW. The
// owner's thread only.
#pragma once

#include <optional>
#include <string>

#include "common/bytes.hpp"
#include "common/file.hpp"
#include "common/result.hpp"
#include "pxe/udp.hpp"

namespace goldlink::pxe {

class PacketPort {
  public:
    static Result<PacketPort> open(const std::string& interface, std::uint16_t port);

    int descriptor() const { return packets_.get(); }
    // nullopt: nothing there now. The payload is moved to the front of `buffer`; Datagram::local is
    // empty, its destination may be any address.
    Result<std::optional<Datagram>> receive(MutableBytes buffer) const;
    Result<> send(Bytes bytes, const Endpoint& destination, Ipv4 source) const;

  private:
    PacketPort(FileDescriptor packets, FileDescriptor raw, std::uint16_t port)
        : packets_(std::move(packets)), raw_(std::move(raw)), port_(port) {}

    FileDescriptor packets_;
    FileDescriptor raw_;
    std::uint16_t port_;
};

}  // namespace goldlink::pxe
