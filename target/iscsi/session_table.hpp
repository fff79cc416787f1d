// SessionTable: the normal sessions of one reactor by target and initiator name. All sessions of a
// target are on the target's reactor, so this is where reinstatement (RFC 7143 6.3.5) is decided.
// Pure, one thread; it owns nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace goldlink::iscsi {

class Session;

class SessionTable {
  public:
    void add(Session& session);
    void remove(Session& session);

    Session* find_isid(std::string_view target, std::string_view initiator,
                       std::uint64_t isid) const;
    Session* find_tsih(std::string_view target, std::string_view initiator,
                       std::uint16_t tsih) const;
    // Has the same initiator a session of the same target that began after this one and answers
    // pings? Then an operating system has taken over from this one (FIELD: iPXE never logs out).
    bool has_live_successor(const Session& session) const;
    // Not zero, and of no other session of this initiator with this target.
    std::uint16_t new_tsih(std::string_view target, std::string_view initiator);

    void for_each_of_target(std::string_view target,
                            const std::function<void(Session&)>& visit) const;
    std::size_t size() const { return size_; }

  private:
    using Peers = std::vector<Session*>;
    const Peers* peers(std::string_view target, std::string_view initiator) const;

    std::unordered_map<std::string, Peers> by_names_;
    std::size_t size_ = 0;
    std::uint16_t last_tsih_ = 0;
};

}  // namespace goldlink::iscsi
