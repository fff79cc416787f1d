// Session: the full feature phase of one connection (RFC 7143 sections 4, 7, 11), which with
// MaxConnections 1 is the session: command window, data transfer, task management, text, NOP,
// logout, reject. Pure: PDUs in, PDUs into an OutputQueue, time as an argument.
//
// One thread, the link's reactor. A session that ends keeps its executing commands until the
// device has completed them; only when drained() may it be destroyed. A discovery session has no
// device. Files: session.cpp (order and dispatch), session_command.cpp (SCSI commands and their
// responses), session_data_out.cpp (R2T and Data-Out), session_control.cpp (the other PDUs).
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "target/iscsi/command.hpp"
#include "target/iscsi/environment.hpp"
#include "target/iscsi/login.hpp"
#include "target/iscsi/stream.hpp"
#include "target/scsi/device.hpp"

namespace goldlink::iscsi {

class Connection;

// Where SendTargets says that targets can be reached.
struct PortalAddresses {
    std::string local;                // of this connection: "10.0.0.1:3260"
    std::vector<std::string> others;  // of the portal set, without wildcards
};

class Session final : public SessionControl {
  public:
    static constexpr std::uint32_t kCommandWindow = 128;  // commands not answered yet
    static constexpr std::uint32_t kMaxImmediate = 16;    // immediate commands beside them
    static constexpr std::size_t kMaxHeldPdus = 256;      // ahead of a gap in CmdSN
    static constexpr std::size_t kMaxHeldBytes = 1U << 20;
    static constexpr std::size_t kMaxTextBytes = 64 * 1024;
    static constexpr std::size_t kFlushBytes = 128 * 1024;    // queued output is sent early
    static constexpr std::size_t kMaxQueuedBytes = 4U << 20;  // input pauses above
    static constexpr std::size_t kMaxQueuedPdus = 1024;       // likewise
    static constexpr std::uint64_t kFirstPingMs = 2'000;      // after login, to know who answers
    static constexpr std::uint64_t kSupersededMs = 60'000;    // see tick()

    struct Numbers {
        std::uint32_t stat_sn = 0;  // of the next response
        std::uint32_t exp_cmd_sn = 0;
    };

    Session(Environment& environment, OutputQueue& output, Transport& transport, Login& login,
            std::uint16_t tsih, Numbers numbers);
    ~Session() override;

    // Makes the link serve this session. False: the link is going away. Not for discovery.
    bool attach();

    // What SendTargets answers with.
    void set_portals(PortalAddresses portals) { portals_ = std::move(portals); }

    PduSink::Placement place_data(Bhs bhs);
    bool receive(const Pdu& pdu);  // false: input pauses; see input_paused()
    void framing_error(FramingError error, Bhs bhs);

    // Output above its bound; the connection asks again after sending.
    bool input_paused() const {
        return output_.queued_bytes() > kMaxQueuedBytes || output_.queued_pdus() > kMaxQueuedPdus;
    }

    void tick(std::uint64_t now_ms);
    void end(SessionEnd why) override;    // closes after what is queued is sent
    void request_logout();                // Async Message, event 1
    void transport_lost(SessionEnd why);  // nothing more can be sent

    bool ending() const { return ending_; }
    bool drained() const { return ending_ && commands_.size() == 0; }

    const std::string& initiator_name() const { return info_.initiator_name; }
    const std::string& target_name() const { return target_name_; }
    std::uint64_t isid() const { return info_.isid; }
    std::uint16_t tsih() const { return info_.tsih; }
    std::uint16_t cid() const { return cid_; }
    bool answers_pings() const { return answers_pings_; }

    // The connection that waits for this session's end to take its place; null: none.
    Connection* successor = nullptr;

    std::uint32_t exp_cmd_sn() const { return exp_cmd_sn_; }
    std::uint32_t max_cmd_sn() const { return exp_cmd_sn_ + (kCommandWindow - in_window_) - 1; }

  private:
    struct HeldPdu {
        std::uint32_t cmd_sn;
        std::array<std::uint8_t, kBhsBytes> header;
        std::vector<std::uint8_t> ahs;
        std::vector<std::uint8_t> data;
    };
    struct PendingAnswer {
        std::uint32_t itt;
        scsi::TaskManagementAnswer answer;
        bool cold_reset;
    };

    // session.cpp
    void dispatch(const Pdu& pdu);
    void replay_held();
    bool hold(const Pdu& pdu);
    bool held_task(std::uint32_t itt) const;
    OutputPdu& new_pdu() { return output_.make(); }
    void push(OutputPdu& pdu);
    BhsWriter number(OutputPdu& pdu, Opcode opcode, std::uint8_t flags, bool takes_stat_sn);
    void close(SessionEnd why);
    void drop_commands();
    void drop_aborted();

    // session_command.cpp
    void scsi_command(const Pdu& pdu);
    bool read_ahs(const Pdu& pdu, Command& command);
    void execute(Command& command);
    static void completed(scsi::Task& task) noexcept;
    void finish(Command& command);
    void finish_with(Command& command, scsi::Status status);
    void fail_early(Command& command, std::uint8_t key, std::uint8_t asc, std::uint8_t ascq);
    void respond(Command& command);
    void refuse_command(Bhs bhs, scsi::Status status);
    void send_data_in(Command& command, std::uint32_t length, bool with_status,
                      std::uint8_t residual_flags, std::uint32_t residual);
    void send_scsi_response(Command& command, std::uint8_t residual_flags, std::uint32_t residual,
                            std::uint32_t bidirectional_residual);
    void leave_window(Command& command);
    void release(Command& command);
    bool ensure_buffer(Command& command);

    // session_data_out.cpp
    Command* command_of_data_out(Bhs bhs) const;
    void data_out(const Pdu& pdu);
    void start_data_out(Command& command, const Pdu& pdu);
    void solicit(Command& command);
    void fail_data_out(Command& command, std::uint8_t asc, std::uint8_t ascq);

    // session_control.cpp
    void nop_out(const Pdu& pdu);
    void ping();
    void text(const Pdu& pdu);
    void send_text(std::uint32_t itt, std::uint64_t lun, bool final_asked);
    bool answer_text(std::string_view text, std::string& response);
    bool send_targets(std::string_view value, std::string& response) const;
    bool discovers(const TargetEntry& entry) const;
    void logout(const Pdu& pdu);
    void task_management(const Pdu& pdu);
    void finish_task_management();
    void send_task_management_response(std::uint32_t itt, scsi::TaskManagementAnswer answer);
    void reject(const Pdu& pdu, RejectReason reason);
    void async_message(AsyncEvent event, std::uint16_t parameter3);

    Environment& environment_;
    OutputQueue& output_;
    Transport& transport_;

    std::shared_ptr<const TargetEntry> target_;  // null: discovery
    std::string target_name_;
    SessionInfo info_;
    std::optional<Credential> discovery_credential_;
    std::uint16_t cid_ = 0;
    Negotiation negotiation_;
    Parameters parameters_;
    PortalAddresses portals_;

    scsi::Device* device_ = nullptr;
    scsi::Nexus* nexus_ = nullptr;
    bool attached_ = false;
    bool ending_ = false;
    bool logged_out_ = false;
    bool wrote_ = false;
    SessionEnd end_why_ = SessionEnd::connection_lost;

    std::uint32_t stat_sn_;
    std::uint32_t exp_cmd_sn_;
    std::uint32_t in_window_ = 0;  // not immediate, not answered
    std::uint32_t immediate_ = 0;  // immediate, not answered
    CommandTable commands_{*this};
    Buffer placed_;  // immediate data of the command that is arriving
    std::vector<std::vector<std::uint8_t>> long_cdbs_;  // of commands that have one, by slot
    std::deque<HeldPdu> held_;
    std::size_t held_bytes_ = 0;
    std::vector<PendingAnswer> pending_answers_;
    std::uint32_t aborts_in_flight_ = 0;

    // Text negotiation under way.
    std::uint32_t text_tag_ = kReservedTag;
    std::string text_in_;
    std::string text_out_;
    bool text_answering_ = false;

    // Pings.
    std::uint64_t started_ms_ = 0;
    std::uint64_t last_received_ms_ = 0;
    std::uint64_t ping_sent_ms_ = 0;
    std::uint32_t ping_tag_ = 0;
    bool received_since_tick_ = true;
    bool ping_outstanding_ = false;
    bool answers_pings_ = false;
};

}  // namespace goldlink::iscsi
