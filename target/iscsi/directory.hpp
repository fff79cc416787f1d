// Directory: what login asks of the link table, and what the link table offers sessions. The only
// seam between the protocol (pure) and the control plane.
//
// Threads: find_target and list_targets may be called on any reactor (they read an immutable
// snapshot). The functions of LinkEndpoint are called on the link's own reactor only.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "target/scsi/device.hpp"

namespace goldlink::iscsi {

// A CHAP credential. A link has a lasting one and, per boot, a one-time one of that generation.
struct Credential {
    std::string username;
    std::string secret;
    // For mutual CHAP: what the target answers with. Empty: mutual CHAP is refused.
    std::string mutual_username;
    std::string mutual_secret;
    std::uint64_t generation = 0;  // 0: whichever is current

    bool operator==(const Credential&) const = default;
};

enum class SessionEnd : std::uint8_t {
    logout,
    connection_lost,
    timeout,
    reinstated,
    generation_ended,
    removed,
    protocol_error
};

// A live session as the link sees it; implemented by the session's owner. `end` is asynchronous.
class SessionControl {
  public:
    virtual ~SessionControl() = default;
    virtual void end(SessionEnd why) = 0;
    // Async Message, event 1 (RFC 7143 11.9.1): the initiator is to log out within so many seconds.
    virtual void request_logout(std::uint16_t seconds) = 0;
};

struct SessionInfo {
    std::string initiator_name;
    std::uint64_t isid = 0;  // 48 bits
    std::uint16_t tsih = 0;
    std::string address;           // "10.0.0.7:3260"
    std::uint64_t generation = 0;  // of the credential that logged in
};

// One link's side of its sessions. Lives on its reactor.
class LinkEndpoint {
  public:
    virtual ~LinkEndpoint() = default;
    // After a successful login to full feature phase. A credential of a pending generation makes
    // that generation current here: older sessions are ended through their SessionControl, the
    // old overlay is dropped. The device stays alive until session_ended. nullptr: refused for
    // now (login status 0x0301); the endpoint itself tells the admin why.
    virtual scsi::Device* session_started(const SessionInfo& info, SessionControl& control) = 0;
    virtual void session_ended(SessionControl& control, SessionEnd why) = 0;
    // First write command of a session, once (a boot stage).
    virtual void first_write(SessionControl& control) = 0;
};

// Where the initiators of a link are sent instead (RFC 7143 11.13.5, statuses 0101h and 0102h).
struct Redirect {
    std::string portal;  // "10.0.0.2:3260" or "[2001:db8::2]:3260"
    // The initiator is to remember the new place; else it comes back here for every login.
    bool permanent = false;

    bool operator==(const Redirect&) const = default;
};

struct TargetEntry {
    std::string iqn;
    std::string alias;
    unsigned reactor = 0;                         // index of the link's reactor
    std::vector<Credential> credentials;          // empty: no authentication needed
    std::vector<std::string> allowed_initiators;  // empty: any name that authenticates
    std::optional<Redirect> redirect;             // logins at its own portal are served
    LinkEndpoint* endpoint = nullptr;             // valid on `reactor` while the entry is listed
};

class Directory {
  public:
    virtual ~Directory() = default;
    virtual std::shared_ptr<const TargetEntry> find_target(std::string_view iqn) const = 0;
    // For SendTargets: only what this initiator may log in to.
    virtual std::vector<std::shared_ptr<const TargetEntry>> list_targets(
        std::string_view initiator_name) const = 0;
    // A login was refused (wrong secret, wrong initiator, unknown target): the control plane turns
    // it into an event. Any reactor. `why` is for the admin.
    virtual void login_refused(std::string_view iqn, std::string_view initiator_name,
                               std::string_view address, std::string_view why) = 0;
};

}  // namespace goldlink::iscsi
