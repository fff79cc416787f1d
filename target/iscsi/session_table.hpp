// SessionTable: the sessions of one reactor by target and initiator name; it owns them. All
// sessions of a target are on the target's reactor, so this is where a login finds the session to
// reinstate (RFC 7143 6.3.5) or to join (6.3.1). Discovery sessions are here too, under no target's
// name, where no login looks for them. Pure, one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace goldlink::iscsi {

class Session;

class SessionTable {
  public:
    SessionTable();
    ~SessionTable();

    Session& add(std::unique_ptr<Session> session);
    void remove(Session& session);  // and destroys it

    Session* find_isid(std::string_view target, std::string_view initiator,
                       std::uint64_t isid) const;
    Session* find_tsih(std::string_view target, std::string_view initiator,
                       std::uint16_t tsih) const;
    // Has the same initiator a session of the same target that began after this one and answers
    // pings? Then an operating system has taken over from this one (FIELD: iPXE never logs out).
    bool has_live_successor(const Session& session) const;
    // Sessions of this initiator with this target.
    std::size_t count(std::string_view target, std::string_view initiator) const;
    // Not zero, and of no other session of this initiator with this target.
    std::uint16_t new_tsih(std::string_view target, std::string_view initiator);

    void for_each_of_target(std::string_view target,
                            const std::function<void(Session&)>& visit) const;
    std::size_t size() const { return size_; }

    // Tasks of a target have ended: what waited for that in its sessions goes on, now or, while
    // somebody holds, when nobody does.
    void tasks_ended(std::string_view target);
    // Around work on a command that gives its task to the device or takes it back: tasks of others
    // may end within that, and a request that waited for them must not find this command half done.
    class Hold {
      public:
        explicit Hold(Session& session);
        ~Hold();
        Hold(const Hold&) = delete;
        Hold& operator=(const Hold&) = delete;

      private:
        Session& session_;
        SessionTable& table_;
    };

  private:
    using Peers = std::vector<std::unique_ptr<Session>>;
    const Peers* peers(std::string_view target, std::string_view initiator) const;

    std::unordered_map<std::string, Peers> by_names_;
    std::size_t size_ = 0;
    std::uint16_t last_tsih_ = 0;
    unsigned holds_ = 0;
    bool ended_while_held_ = false;
};

}  // namespace goldlink::iscsi
