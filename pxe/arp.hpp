// ARP (RFC 826), as far as it tells whether somebody uses an address: the packets, and a socket for
// them. Two kinds of host answer no ping but all answer ARP: PCs with a firewall, and printers that
// sleep. The DHCP thread's only.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/bytes.hpp"
#include "common/file.hpp"
#include "common/mac.hpp"
#include "common/result.hpp"
#include "pxe/ipv4.hpp"

namespace goldlink::pxe {

struct ArpSender {
    Mac mac;
    Ipv4 address;
    bool operator==(const ArpSender&) const = default;
};

// Who has `address`? From us, by our own address: one without (an ARP probe, RFC 5227) would make a
// machine give up the address that is just checking it for itself.
std::vector<std::uint8_t> encode_arp_request(const ArpSender& us, Ipv4 address);
// The sender of a request or a reply for IPv4 on Ethernet; nullopt when it is none, or a probe.
std::optional<ArpSender> parse_arp(Bytes packet);

class ArpSocket {
  public:
    // Errors: where the interface is gone or has no Ethernet addresses.
    static Result<ArpSocket> open(const std::string& interface);

    int descriptor() const { return fd_.get(); }
    Result<> ask(Ipv4 us, Ipv4 address) const;
    // nullopt: nothing there now.
    std::optional<ArpSender> receive() const;

  private:
    ArpSocket(FileDescriptor fd, unsigned index, const Mac& mac)
        : fd_(std::move(fd)), index_(index), mac_(mac) {}

    FileDescriptor fd_;
    unsigned index_;
    Mac mac_;
};

}  // namespace goldlink::pxe
