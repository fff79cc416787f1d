// Connection: one TCP connection without its socket: the stream, the login phase, then its part of
// a session, which the login began or joined. Pure; bytes come in through direct_space()/consume(),
// go out through output(), time is an argument. The socket (socket_connection.hpp) and the tests
// drive it.
//
// One thread. Once closing(), the owner sends what output() still holds and closes; it may destroy
// the object when finished(), which waits for the commands that the device still has.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "target/iscsi/environment.hpp"
#include "target/iscsi/login.hpp"
#include "target/iscsi/session_connection.hpp"
#include "target/iscsi/stream.hpp"

namespace goldlink::iscsi {

class Connection final : private PduSink {
  public:
    static constexpr std::uint32_t kFirstStatSn = 1;  // of a connection

    Connection(Environment& environment, Transport& transport, std::string peer_address,
               PortalAddresses portals);
    ~Connection() override;
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    // Input. Bytes for direct_space() come before bytes for consume(). consume() takes fewer than
    // given only when input_paused() or closing().
    MutableBytes direct_space() { return stream_.direct_space(); }
    void direct_received(std::size_t bytes) { stream_.direct_received(bytes); }
    std::size_t consume(Bytes staged) { return stream_.consume(staged); }
    bool expects_large_data() const { return stream_.expects_large_data(); }
    bool input_paused() const {
        return awaited_ != nullptr || (full_feature_ && full_feature_->input_paused());
    }

    OutputQueue& output() { return output_; }

    // So many of the login requests that will come first have had their answers.
    void already_answered(std::uint32_t requests) { already_answered_ = requests; }

    bool logged_in() const { return full_feature_ != nullptr; }
    bool is_discovery() const {
        return full_feature_ && full_feature_->session().target() == nullptr;
    }
    // A PDU has begun to arrive, and its rest has not.
    bool input_unfinished() const { return stream_.unfinished(); }
    bool closing() const { return closing_ || (full_feature_ && full_feature_->closing()); }
    bool finished() const { return closing() && (!full_feature_ || full_feature_->drained()); }

    void tick(std::uint64_t now_ms) {
        if (full_feature_) full_feature_->tick(now_ms);
    }
    void transport_lost(SessionEnd why);  // nothing more can be sent or received
    void login_timed_out();
    void request_logout(std::uint16_t seconds) {
        if (full_feature_) full_feature_->request_logout(seconds);
    }
    void end(SessionEnd why);

    // For the place that this connection's login waits for: it is free; a later login has it.
    void place_vacated();
    void place_taken();

  private:
    PduSink::Placement place_data(Bhs bhs) override;
    bool receive(const Pdu& pdu) override;
    void framing_error(FramingError error, Bhs bhs) override;

    void login_request(const Pdu& pdu);
    void complete_login();
    void join_session();
    void start_session(std::uint16_t tsih);
    void enter(Session& session);
    void await(Place& place);
    void refuse(LoginStatus status, std::string_view why);
    void respond(const LoginAnswer& answer, std::uint16_t tsih);

    Environment& environment_;
    Transport& transport_;
    OutputQueue output_;
    PduStream stream_;
    PortalAddresses portals_;
    std::unique_ptr<Login> login_;  // null after it
    std::unique_ptr<SessionConnection> full_feature_;
    Place* awaited_ = nullptr;  // must be free before this login may complete
    bool closing_ = false;

    // Of the login request that is being answered.
    LoginAnswer answer_;
    std::array<std::uint8_t, kBhsBytes> request_{};
    std::uint32_t stat_sn_ = kFirstStatSn;
    std::uint32_t already_answered_ = 0;
};

}  // namespace goldlink::iscsi
