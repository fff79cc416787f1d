// Session: what the connections of one iSCSI session share (RFC 7143 3.3, 4.2): who is at the other
// end, the device and its nexus, the command stream and its window, the tasks, and the
// connections themselves (at most kMaxConnections). What belongs to a connection alone is in
// session_connection.hpp. Pure: no sockets, no clock.
//
// One thread, the link's reactor; every connection of the session is there, so nothing is locked.
// The session table owns it; it ends with its last connection. With ErrorRecoveryLevel 0 the loss
// of a connection is recovered by session recovery alone (7.1.4.4, 7.1.5): the whole session ends.
// A connection that logs out leaves the others as they are.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "target/iscsi/command.hpp"
#include "target/iscsi/command_order.hpp"
#include "target/iscsi/environment.hpp"
#include "target/iscsi/login.hpp"
#include "target/iscsi/place.hpp"
#include "target/iscsi/task_management.hpp"
#include "target/scsi/device.hpp"

namespace goldlink::iscsi {

class SessionConnection;

enum class LogoutResponse : std::uint8_t {  // RFC 7143 11.15.1
    closed = 0,
    cid_not_found = 1,
    recovery_not_supported = 2,
};

class Session final : public SessionControl {
  public:
    static constexpr std::uint32_t kCommandWindow = CommandOrder::kWindow;
    static constexpr std::uint32_t kMaxImmediate = 16;  // immediate commands beside the window
    // For data, of commands: an eighth of what a reactor has.
    static constexpr std::size_t kMaxBufferBytes = 128U << 20;

    // `tsih` is the session's; the login is the leading one, CmdSN that of its last request.
    Session(Environment& environment, const Login& login, std::uint16_t tsih, std::uint32_t cmd_sn);
    ~Session() override;

    // Makes the link serve this session. False: the link is going away. Not for discovery.
    bool attach();

    // Closes every connection after what is queued is sent.
    void end(SessionEnd why) override;
    // On each connection (RFC 7143 11.9.1); ends a discovery session.
    void request_logout(std::uint16_t seconds) override;
    bool ending() const { return ending_; }

    // --- Its connections ---

    void add(SessionConnection& connection);
    void remove(SessionConnection& connection);  // with the last one the session is destroyed
    // The one of this CID that is not gone yet; null: none.
    SessionConnection* find(std::uint16_t cid) const;
    bool has_room() const { return live_connections() < parameters_.max_connections; }
    std::size_t live_connections() const;
    const std::vector<SessionConnection*>& connections() const { return connections_; }

    // A connection failed: so does the session (see above). The other connections are told.
    void connection_failed(SessionConnection& connection, SessionEnd why);
    // A login takes the place of this connection: as if it had logged out (6.3.4).
    void reinstate(SessionConnection& connection);
    // Logout that came on `from`, of the connection `closing`; null: of the session. The answer
    // waits until the tasks that end by it have left the device, so that none of their data is
    // stored after it.
    void log_out(SessionConnection& from, std::uint32_t itt, SessionConnection* closing);
    bool may_log_out() const { return logouts_.size() < kMaxLogouts; }

    // --- Who ---

    const std::string& initiator_name() const { return info_.initiator_name; }
    const std::string& target_name() const { return target_name_; }
    std::uint64_t isid() const { return info_.isid; }
    std::uint16_t tsih() const { return info_.tsih; }
    const SessionInfo& info() const { return info_; }
    const Parameters& parameters() const { return parameters_; }
    const TargetEntry* target() const { return target_.get(); }  // null: discovery
    const std::optional<Credential>& discovery_credential() const { return discovery_credential_; }
    bool answers_pings() const;

    // The login that takes this session's place waits here.
    Place place;

    // --- Commands ---

    bool attached() const { return attached_; }
    scsi::Device& device() { return *device_; }
    scsi::Nexus* nexus() { return nexus_; }
    CommandOrder& order() { return order_; }
    CommandTable& commands() { return commands_; }
    TaskManagement& task_management() { return task_management_; }
    std::vector<std::vector<std::uint8_t>>& long_cdbs() { return long_cdbs_; }
    Environment& environment() { return environment_; }

    bool has_immediate_room() const { return immediate_ < kMaxImmediate; }
    // Until it is answered, a command takes room in the window or of the immediate ones.
    void enter_window(Command& command) {
        command.in_window = true;
        if (command.immediate)
            ++immediate_;
        else
            order_.enter_window();
    }
    void leave_window(Command& command) {
        if (!command.in_window) return;
        command.in_window = false;
        if (command.immediate)
            --immediate_;
        else
            order_.leave_window();
    }

    // Tells the link of the first command that stores data.
    void stores_data();
    // Drops tasks that were aborted while their data was awaited.
    void drop_aborted();
    // What waits for something goes on if it can: to be called after every PDU that came while
    // waits(), and after every task that was aborted and has left the device.
    bool waits() const { return !task_management_.idle() || !order_.empty() || !logouts_.empty(); }
    void progress();
    void task_ended();
    void settle();  // the part of it that ended tasks may let go on

  private:
    static constexpr std::size_t kMaxLogouts = 8;
    struct Logout {
        SessionConnection* from;
        std::uint32_t itt;
        SessionConnection* closing;  // null: it is gone, or the whole session
        bool whole;
    };

    void close_all(SessionEnd why);
    void settle_logouts();
    // Hands on the held PDUs whose turn has come. False: there was none.
    bool replay_held();

    Environment& environment_;
    std::shared_ptr<const TargetEntry> target_;
    std::string target_name_;
    SessionInfo info_;
    std::optional<Credential> discovery_credential_;
    Parameters parameters_;  // the session-wide ones count

    scsi::Device* device_ = nullptr;
    scsi::Nexus* nexus_ = nullptr;
    bool attached_ = false;
    bool ending_ = false;
    bool wrote_ = false;
    SessionEnd end_why_ = SessionEnd::connection_lost;

    CommandOrder order_;
    std::uint32_t immediate_ = 0;  // immediate commands, not answered
    CommandTable commands_;
    std::vector<std::vector<std::uint8_t>> long_cdbs_;  // of commands that have one, by slot
    TaskManagement task_management_{*this};
    std::vector<SessionConnection*> connections_;  // closing ones as well
    std::vector<Logout> logouts_;                  // not answered yet
};

}  // namespace goldlink::iscsi
