// PendingLogin: an accepted socket until its first login request is whole, on the accepting
// reactor. Then the target's name says which reactor it goes to; what is no login request goes to
// the accepting reactor, where the login refuses it in the protocol's terms. A request whose text
// goes on in the next one (C bit, RFC 7143 6.2) is answered here, since the name may be in that
// one.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <vector>

#include "target/iscsi/directory.hpp"
#include "target/iscsi/socket_connection.hpp"
#include "target/reactor/poller.hpp"

namespace goldlink::iscsi {

class PendingLogins {
  public:
    // Takes the socket on; `reactor` is an index. Called on the accepting reactor.
    using HandOff = std::function<void(unsigned reactor, AcceptedSocket accepted)>;
    enum class Why : std::uint8_t { closed, too_many, timeout, unwatchable, stopping };
    static const char* to_string(Why why);
    using Dropped = std::function<void(const AcceptedSocket& accepted, Why why)>;

    PendingLogins(reactor::Reactor& reactor, const Directory& directory, std::size_t max_pending,
                  HandOff hand_off, Dropped dropped);
    ~PendingLogins();

    void add(AcceptedSocket accepted);  // the oldest is dropped when there are too many
    void expire(std::uint64_t now_ms, std::uint64_t timeout_ms);
    void drop_all();
    std::size_t size() const { return pending_.size(); }

  private:
    class Pending;
    using List = std::list<std::unique_ptr<Pending>>;

    void drop(List::iterator pending, Why why);
    void hand_off(Pending& pending);

    reactor::Reactor& reactor_;
    const Directory& directory_;
    std::size_t max_pending_;
    HandOff hand_off_;
    Dropped dropped_;
    List pending_;  // oldest first
};

}  // namespace goldlink::iscsi
