// SessionConnection: the full feature phase of one connection of a session (RFC 7143 4.2.4, 8,
// 11): its StatSN, negotiated lengths, text negotiation and pings, and the commands that are
// allegiant to it, whose R2Ts, data and status go over it alone. PDUs in, PDUs into an
// OutputQueue, time as an argument.
//
// One thread, that of its session. A connection that closes keeps its executing commands until the
// device has completed them; only when drained() may it be destroyed. Files:
// session_connection.cpp (dispatch, life), session_command.cpp (SCSI commands and responses),
// session_data_out.cpp (R2T and Data-Out), session_control.cpp (the other PDUs).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "target/iscsi/session.hpp"
#include "target/iscsi/stream.hpp"

namespace goldlink::iscsi {

// Where SendTargets says that targets can be reached.
struct PortalAddresses {
    std::string local;                // of this connection: "10.0.0.1:3260"
    std::vector<std::string> others;  // of the portal set, without wildcards
};

class SessionConnection {
  public:
    static constexpr std::size_t kMaxTextBytes = 64 * 1024;
    static constexpr std::size_t kFlushBytes = 128 * 1024;    // queued output is sent early
    static constexpr std::size_t kMaxQueuedBytes = 4U << 20;  // input pauses above
    static constexpr std::size_t kMaxQueuedPdus = 1024;       // likewise
    static constexpr std::uint64_t kFirstPingMs = 2'000;      // after login, to know who answers
    static constexpr std::uint64_t kSupersededMs = 60'000;    // see tick()

    // Where it sends, and the stream that it may tell to discard what it receives.
    struct Wire {
        OutputQueue& output;
        Transport& transport;
        PduStream& stream;
    };

    // `stat_sn` is that of its first response. Joins the session.
    SessionConnection(Session& session, Wire wire, Login& login, std::uint32_t stat_sn,
                      PortalAddresses portals);
    ~SessionConnection();  // may destroy the session
    SessionConnection(const SessionConnection&) = delete;
    SessionConnection& operator=(const SessionConnection&) = delete;

    PduSink::Placement place_data(Bhs bhs);
    bool receive(const Pdu& pdu);  // false: input pauses; see input_paused()
    void framing_error(FramingError error, Bhs bhs);

    // Output above its bound; the connection asks again after sending.
    bool input_paused() const {
        return output_.queued_bytes() > kMaxQueuedBytes || output_.queued_pdus() > kMaxQueuedPdus;
    }

    void tick(std::uint64_t now_ms);
    void end(SessionEnd why) { session_.end(why); }
    void request_logout(std::uint16_t seconds);  // Async Message, event 1; ends a discovery session
    void transport_lost(SessionEnd why);         // nothing more can be sent

    bool closing() const { return closing_; }
    bool drained() const { return closing_ && tasks_ == 0; }

    Session& session() { return session_; }
    std::uint16_t cid() const { return cid_; }
    bool answers_pings() const { return answers_pings_; }

    // The login that reinstates this connection waits here.
    Place place;

    // --- For its session ---

    void handle(const Pdu& pdu);  // a held PDU has its turn
    // Drops its tasks and what is held of it, and closes after what is queued is sent.
    void close();
    // What the device does not execute is dropped, what it executes will send nothing. `tell`: the
    // session goes on, and the initiator learns of it by a unit attention (11.14.5).
    void drop_tasks(bool tell);
    // After Logout it takes nothing more; it still sends its response.
    void stop_receiving() { logging_out_ = true; }
    std::size_t tasks() const { return tasks_; }
    void drop(Command& command);   // a task that the device does not execute
    void go_on(Command& command);  // its response or its R2Ts were held back
    void announce_session_end();   // Async Message, event 3
    void send_logout_response(std::uint32_t itt, LogoutResponse response);
    // Returns the ExpStatSN that acknowledges it.
    std::uint32_t send_task_management_response(std::uint32_t itt,
                                                scsi::TaskManagementAnswer answer);
    void reject(const Pdu& pdu, RejectReason reason);

    // Response fences: everything sent so far is to be acknowledged.
    void begin_fence() { fence_stat_sn_ = stat_sn_; }
    bool fence_acknowledged() const { return !sn_less(acknowledged_, fence_stat_sn_); }
    bool has_acknowledged(std::uint32_t stat_sn) const { return !sn_less(acknowledged_, stat_sn); }
    void solicit_acknowledgement() {
        if (!ping_outstanding_) ping();
    }

  private:
    // session_connection.cpp
    void dispatch(const Pdu& pdu);
    OutputPdu& new_pdu() { return output_.make(); }
    void push(OutputPdu& pdu);
    BhsWriter number(OutputPdu& pdu, Opcode opcode, std::uint8_t flags, bool takes_stat_sn);
    void fail(SessionEnd why) { session_.connection_failed(*this, why); }
    bool data_out_overdue(std::uint64_t now_ms);

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
    void async_message(AsyncEvent event, std::uint16_t parameter3);

    Session& session_;
    Environment& environment_;
    OutputQueue& output_;
    Transport& transport_;
    PduStream& stream_;

    std::uint16_t cid_;
    Negotiation negotiation_;
    Parameters parameters_;  // the session-wide ones and this connection's own
    PortalAddresses portals_;
    std::string address_;

    bool closing_ = false;
    bool logging_out_ = false;
    std::uint32_t stat_sn_;
    std::uint32_t acknowledged_;  // the highest ExpStatSN that came
    std::uint32_t fence_stat_sn_ = 0;
    std::size_t tasks_ = 0;             // commands of the session that are allegiant to this
    Buffer placed_;                     // immediate data of the command that is arriving
    Command* receives_into_ = nullptr;  // whose buffer the Data-Out that is arriving goes to

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
    bool data_out_since_tick_ = false;
    std::uint64_t last_data_out_ms_ = 0;
    bool ping_outstanding_ = false;
    bool answers_pings_ = false;
};

}  // namespace goldlink::iscsi
