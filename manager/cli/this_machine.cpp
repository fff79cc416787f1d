#include "manager/cli/this_machine.hpp"

#include <netdb.h>
#include <sys/socket.h>

#include <memory>

#include "common/file.hpp"
#include "common/http/socket_stream.hpp"

namespace goldlink::cli {

namespace {

// Nobody else's address can be bound to.
bool is_own(const addrinfo& address) {
    const FileDescriptor fd(::socket(address.ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    return fd && ::bind(fd.get(), address.ai_addr, address.ai_addrlen) == 0;
}

}  // namespace

bool is_this_machine(const std::string& url) {
    const auto address = http::Address::parse(url);
    if (!address) return false;
    if (address->unix_socket) return true;
    addrinfo hints{};
    hints.ai_socktype = SOCK_DGRAM;
    addrinfo* list = nullptr;
    if (::getaddrinfo(address->host.c_str(), nullptr, &hints, &list) != 0) return false;
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(list, ::freeaddrinfo);
    for (const addrinfo* one = list; one != nullptr; one = one->ai_next)
        if (!is_own(*one)) return false;
    return true;
}

}  // namespace goldlink::cli
