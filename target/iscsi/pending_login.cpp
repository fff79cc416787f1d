#include "target/iscsi/pending_login.hpp"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include "target/iscsi/negotiation.hpp"
#include "target/iscsi/pdu.hpp"

namespace goldlink::iscsi {

namespace {

// A login request with its data, as large as it may be before negotiation.
constexpr std::size_t kMaxRequestBytes = kBhsBytes + kMaxAhsBytes + kLoginMaxDataSegmentLength + 4;

// An empty answer is due, and nothing else can be told yet (RFC 7143 6.2). What the login would
// refuse it is left to refuse.
bool is_continued(Bhs bhs) {
    constexpr std::uint8_t kTransit = 0x80, kCurrentStage = 0x0c;
    return (bhs.flags() & kContinue) != 0 && (bhs.flags() & kTransit) == 0 &&
           (bhs.flags() & kCurrentStage) <= 0x04 && bhs.bytes()[3] == 0;
}

std::array<std::uint8_t, kBhsBytes> continue_answer(Bhs request, std::uint32_t stat_sn) {
    std::array<std::uint8_t, kBhsBytes> header;
    BhsWriter(header.data(), Opcode::login_response, request.flags() & 0x0c)
        .be16(14, request.tsih())
        .itt(request.itt())
        .stat_sn(stat_sn)
        .exp_cmd_sn(request.cmd_sn())
        .max_cmd_sn(request.cmd_sn());
    std::memcpy(header.data() + 8, request.bytes() + 8, 6);  // ISID
    return header;
}

// How long the request is; nullopt: it is none, or too long to be one.
std::optional<std::size_t> request_bytes(Bytes received) {
    const Bhs bhs(received.data());
    if (bhs.opcode() != Opcode::login || bhs.data_length() > kLoginMaxDataSegmentLength)
        return std::nullopt;
    return kBhsBytes + bhs.ahs_bytes() + padded(bhs.data_length());
}

}  // namespace

class PendingLogins::Pending final : public reactor::Pollable {
  public:
    Pending(PendingLogins& owner, AcceptedSocket accepted)
        : accepted_(std::move(accepted)), owner_(owner) {}
    ~Pending() override {
        if (accepted_.socket) unwatch();
    }

    bool watch() {
        return owner_.reactor_.poller()
            .watch(accepted_.socket.get(), *this, true, false)
            .has_value();
    }
    void unwatch() { owner_.reactor_.poller().unwatch(accepted_.socket.get(), *this); }

    void ready(bool, bool) override {
        std::vector<std::uint8_t>& received = accepted_.received;
        const std::size_t had = received.size();
        received.resize(had + kMaxRequestBytes);
        const ssize_t got =
            ::recv(accepted_.socket.get(), received.data() + had, received.size() - had, 0);
        received.resize(had + (got > 0 ? static_cast<std::size_t>(got) : 0));
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (got <= 0) return owner_.drop(self_, Why::closed);
        for (;;) {
            const Bytes request = Bytes(received).subspan(request_at_);
            if (request.size() < kBhsBytes) return;
            const auto whole = request_bytes(request);
            if (whole && request.size() < *whole) return;
            const Bhs bhs(request.data());
            if (whole) text_.append(text_of(request));
            if (!whole || !is_continued(bhs) || text_.size() > Login::kMaxTextBytes ||
                accepted_.answered == Login::kMaxRequests)
                return owner_.hand_off(*this);
            if (!answer(bhs)) return owner_.drop(self_, Why::closed);
            request_at_ += *whole;
        }
    }

    const std::string& text() const { return text_; }

    AcceptedSocket accepted_;
    List::iterator self_;

  private:
    static std::string_view text_of(Bytes request) {
        const Bhs bhs(request.data());
        return as_text(request.subspan(kBhsBytes + bhs.ahs_bytes(), bhs.data_length()));
    }

    bool answer(Bhs bhs) {
        const auto header = continue_answer(bhs, Connection::kFirstStatSn + accepted_.answered++);
        return ::send(accepted_.socket.get(), header.data(), header.size(),
                      MSG_NOSIGNAL | MSG_DONTWAIT) == static_cast<ssize_t>(header.size());
    }

    PendingLogins& owner_;
    std::size_t request_at_ = 0;  // in what was received
    std::string text_;            // of all requests so far
};

PendingLogins::PendingLogins(reactor::Reactor& reactor, const Directory& directory,
                             std::size_t max_pending, HandOff hand_off, Dropped dropped)
    : reactor_(reactor),
      directory_(directory),
      max_pending_(max_pending),
      hand_off_(std::move(hand_off)),
      dropped_(std::move(dropped)) {}

PendingLogins::~PendingLogins() { drop_all(); }

void PendingLogins::add(AcceptedSocket accepted) {
    if (pending_.size() >= max_pending_) drop(pending_.begin(), Why::too_many);
    pending_.push_back(std::make_unique<Pending>(*this, std::move(accepted)));
    pending_.back()->self_ = std::prev(pending_.end());
    if (!pending_.back()->watch()) {
        dropped_(pending_.back()->accepted_, Why::unwatchable);
        pending_.back()->accepted_.socket.reset();
        pending_.pop_back();
    }
}

void PendingLogins::expire(std::uint64_t now_ms, std::uint64_t timeout_ms) {
    while (!pending_.empty() && now_ms - pending_.front()->accepted_.accepted_ms >= timeout_ms)
        drop(pending_.begin(), Why::timeout);
}

void PendingLogins::drop_all() {
    while (!pending_.empty()) drop(pending_.begin(), Why::stopping);
}

const char* PendingLogins::to_string(Why why) {
    switch (why) {
        case Why::closed:
            return "it closed before its first login request";
        case Why::too_many:
            return "too many connections wait for their login";
        case Why::timeout:
            return "it sent no login request in time";
        case Why::unwatchable:
            return "it cannot be watched";
        case Why::stopping:
            return "the portal stops";
    }
    return "";
}

void PendingLogins::drop(List::iterator pending, Why why) {
    dropped_((*pending)->accepted_, why);
    pending_.erase(pending);
}

void PendingLogins::hand_off(Pending& pending) {
    pending.unwatch();
    AcceptedSocket accepted = std::move(pending.accepted_);
    unsigned reactor = reactor_.index();
    if (const auto name = Login::peek_target_name(as_bytes(pending.text())))
        if (const auto target = directory_.find_target(*name)) reactor = target->reactor;
    pending_.erase(pending.self_);
    hand_off_(reactor, std::move(accepted));
}

}  // namespace goldlink::iscsi
