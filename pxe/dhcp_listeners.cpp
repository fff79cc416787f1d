#include "pxe/dhcp_listeners.hpp"

#include <fmt/format.h>
#include <net/if.h>

#include <algorithm>

#include "common/log.hpp"
#include "pxe/decide.hpp"
#include "pxe/solicitations.hpp"

namespace goldlink::pxe {

namespace {

constexpr std::chrono::seconds kTryAgain{5};

bool contains(const std::vector<std::string>& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

Result<std::unique_ptr<DhcpListeners>> DhcpListeners::open(std::vector<std::string> names,
                                                           bool proxy) {
    // First the watch, then the list: what changes between them is seen again.
    GOLDLINK_TRY_ASSIGN(NetworkWatch watch, NetworkWatch::open());
    std::unique_ptr<DhcpListeners> made(
        new DhcpListeners(std::move(names), proxy, std::move(watch)));
    for (const std::string& name : made->names_) GOLDLINK_TRY(find_interface(name));
    GOLDLINK_TRY(made->list());
    const auto wanted = made->wanted();
    if (wanted.empty())
        return failure(
            ErrorKind::not_found,
            "no network interface is up with an IPv4 address; configure one, or start with "
            "--mode off to serve TFTP and HTTP boot only");
    std::optional<Error> failed;
    for (const std::string& name : wanted) {
        auto listener = made->listen(name);
        if (listener) {
            made->listeners_.push_back(std::move(*listener));
            continue;
        }
        // One that nobody asked for does not keep the others from being served.
        if (!made->names_.empty()) return Failure(listener.error());
        log::warn("dhcp: interface {} is not served: {}", name, listener.error().message);
        failed = listener.error();
        made->next_try_ = Time::clock::now() + kTryAgain;
    }
    if (made->listeners_.empty()) return Failure(*failed);
    made->publish({});
    return made;
}

Result<> DhcpListeners::list() {
    GOLDLINK_TRY_ASSIGN(present_, list_interfaces());
    return {};
}

std::vector<std::string> DhcpListeners::wanted() const {
    if (!names_.empty()) return names_;
    std::vector<std::string> names;
    for (const Interface& one : present_)
        if (is_host_address(one.address) && !contains(names, one.name)) names.push_back(one.name);
    return names;
}

std::vector<Interface> DhcpListeners::addresses_of(const std::string& name) const {
    std::vector<Interface> found;
    for (const Interface& one : present_)
        if (one.name == name) found.push_back(one);
    return found;
}

Result<std::unique_ptr<DhcpListener>> DhcpListeners::listen(const std::string& name) const {
    auto made = std::make_unique<DhcpListener>();
    made->interface = name;
    made->index = ::if_nametoindex(name.c_str());
    made->addresses = addresses_of(name);
    if (proxy_) {
        GOLDLINK_TRY_ASSIGN(made->watched_port, PacketPort::open(name, kServerPort));
    } else {
        GOLDLINK_TRY_ASSIGN(made->server_port, open_udp({{}, kServerPort}, name, true));
    }
    GOLDLINK_TRY_ASSIGN(made->boot_server_port, open_udp({{}, kBootServerPort}, name, true));
    // Only a convenience: a host without IPv6 boots machines all the same.
    if (auto fd = open_solicitations(name))
        made->solicitations = std::move(*fd);
    else
        log::info("dhcp: {}; where no router answers on {}, iPXE waits some seconds for IPv6",
                  fd.error().message, name);
    return made;
}

void DhcpListeners::drop_gone(const std::vector<std::string>& wanted) {
    std::erase_if(listeners_, [&](const auto& one) {
        const bool same = ::if_nametoindex(one->interface.c_str()) == one->index;
        if (same && contains(wanted, one->interface)) return false;
        log::warn("dhcp: interface {} is gone; machines there are served again when it is back",
                  one->interface);
        return true;
    });
}

void DhcpListeners::follow(Time now) {
    watch_.drain();
    next_try_.reset();
    std::vector<Problem> problems;
    if (const auto listed = list(); !listed) {
        log::warn("dhcp: {}", listed.error().message);
        next_try_ = now + kTryAgain;
        return;
    }
    const auto names = wanted();
    drop_gone(names);
    for (const std::string& name : names) {
        const auto at = std::find_if(listeners_.begin(), listeners_.end(),
                                     [&](const auto& one) { return one->interface == name; });
        if (at != listeners_.end()) {
            (*at)->addresses = addresses_of(name);
        } else if (::if_nametoindex(name.c_str()) == 0) {
            problems.push_back({"network", fmt::format("there is no interface {} now", name),
                                "bring it back, or start with another --interface"});
            continue;
        } else if (auto listener = listen(name)) {
            log::info("dhcp: interface {} is served", name);
            listeners_.push_back(std::move(*listener));
        } else {
            problems.push_back(
                {"network",
                 fmt::format("interface {} is not served: {}", name, listener.error().message),
                 "it is tried again every few seconds"});
            next_try_ = now + kTryAgain;
            continue;
        }
        if (addresses_of(name).empty())
            problems.push_back({"network",
                                fmt::format("interface {} is down or has no IPv4 address, so no "
                                            "machine there can be answered",
                                            name),
                                "give it an address"});
    }
    publish(std::move(problems));
}

const DhcpListener* DhcpListeners::find(const std::string& interface) const {
    for (const auto& one : listeners_)
        if (one->interface == interface) return one.get();
    return nullptr;
}

Ipv4 DhcpListeners::answer_from(const DhcpListener& listener, const Datagram& datagram) const {
    const auto ours = [&](const Interface& one) { return one.address == datagram.destination; };
    if (std::any_of(present_.begin(), present_.end(), ours)) return datagram.destination;
    // A broadcast, or what a packet socket saw of others' traffic.
    const auto broadcast_of = [&](const Interface& one) {
        return datagram.destination.value == (one.address.value | ~one.netmask.value);
    };
    const auto at =
        std::find_if(listener.addresses.begin(), listener.addresses.end(), broadcast_of);
    if (at != listener.addresses.end()) return at->address;
    if (datagram.destination != kBroadcast || listener.addresses.empty()) return {};
    return listener.addresses.front().address;
}

void DhcpListeners::publish(std::vector<Problem> problems) {
    const std::lock_guard lock(mutex_);
    problems_ = std::move(problems);
    served_.clear();
    for (const auto& one : listeners_) served_.push_back(one->interface);
}

std::vector<std::string> DhcpListeners::served() const {
    const std::lock_guard lock(mutex_);
    return served_;
}

std::vector<Problem> DhcpListeners::problems() const {
    const std::lock_guard lock(mutex_);
    return problems_;
}

}  // namespace goldlink::pxe
