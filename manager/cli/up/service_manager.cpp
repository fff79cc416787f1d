#include "manager/cli/up/service_manager.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "common/file.hpp"

namespace goldlink::up {
namespace {

std::string take_variable(const char* name) {
    const char* value = std::getenv(name);
    std::string text = value == nullptr ? "" : value;
    ::unsetenv(name);
    return text;
}

}  // namespace

ServiceManager::ServiceManager() : socket_(take_variable("NOTIFY_SOCKET")) {
    const std::string every = take_variable("WATCHDOG_USEC");
    const std::string pid = take_variable("WATCHDOG_PID");
    if (pid.empty() || pid == std::to_string(::getpid()))
        watchdog_ = std::chrono::microseconds(std::strtoll(every.c_str(), nullptr, 10));
}

void ServiceManager::serves(std::string_view text) {
    status(text);
    if (!std::exchange(ready_, true)) send("READY=1");
}

void ServiceManager::status(std::string_view text) {
    if (text == last_status_) return;
    last_status_ = text;
    send(fmt::format("STATUS={}", text));
}

void ServiceManager::stopping() { send("STOPPING=1\nSTATUS=stopping"); }

void ServiceManager::lives() {
    const auto now = std::chrono::steady_clock::now();
    if (watchdog_.count() <= 0 || now - told_ < watchdog_ / 3) return;
    told_ = now;
    send("WATCHDOG=1");
}

void ServiceManager::send(const std::string& message) const {
    sockaddr_un address{};
    if (socket_.empty() || (socket_[0] != '/' && socket_[0] != '@') ||
        socket_.size() >= sizeof address.sun_path)
        return;
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, socket_.data(), socket_.size());
    if (socket_[0] == '@') address.sun_path[0] = '\0';
    const FileDescriptor fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!fd) return;
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket_.size());
    // One that does not listen any more has nothing to hear.
    static_cast<void>(::sendto(fd.get(), message.data(), message.size(),
                               MSG_NOSIGNAL | MSG_DONTWAIT,
                               reinterpret_cast<const sockaddr*>(&address), size));
}

}  // namespace goldlink::up
