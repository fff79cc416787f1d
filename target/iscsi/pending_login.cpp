#include "target/iscsi/pending_login.hpp"

#include <sys/socket.h>

#include <cerrno>
#include <optional>

#include "target/iscsi/negotiation.hpp"
#include "target/iscsi/pdu.hpp"

namespace goldlink::iscsi {

namespace {

// A login request with its data, as large as it may be before negotiation.
constexpr std::size_t kMaxRequestBytes = kBhsBytes + kMaxAhsBytes + kLoginMaxDataSegmentLength + 4;

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
        received.resize(kMaxRequestBytes);
        const ssize_t got =
            ::recv(accepted_.socket.get(), received.data() + had, received.size() - had, 0);
        received.resize(had + (got > 0 ? static_cast<std::size_t>(got) : 0));
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (got <= 0) return owner_.drop(self_, Why::closed);
        if (received.size() < kBhsBytes) return;
        const auto whole = request_bytes(received);
        if (!whole || received.size() >= *whole) owner_.hand_off(*this);
    }

    AcceptedSocket accepted_;
    List::iterator self_;

  private:
    PendingLogins& owner_;
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
    pending_.erase(pending.self_);
    unsigned reactor = reactor_.index();
    if (const auto whole = request_bytes(accepted.received)) {
        const Bhs bhs(accepted.received.data());
        const Bytes data =
            Bytes(accepted.received).subspan(kBhsBytes + bhs.ahs_bytes(), bhs.data_length());
        if (const auto name = Login::peek_target_name(data))
            if (const auto target = directory_.find_target(*name)) reactor = target->reactor;
    }
    hand_off_(reactor, std::move(accepted));
}

}  // namespace goldlink::iscsi
