// Unit attentions of one nexus and logical unit (SAM-5 5.14, SPC-4 5.13): a small bounded queue.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace goldlink::scsi {

struct Attention {
    std::uint8_t asc = 0;
    std::uint8_t ascq = 0;
    bool operator==(const Attention&) const = default;
};

namespace attention {
inline constexpr Attention kMediumMayHaveChanged{0x28, 0x00};
inline constexpr Attention kPowerOnOrReset{0x29, 0x00};
inline constexpr Attention kPowerOn{0x29, 0x01};
inline constexpr Attention kBusDeviceReset{0x29, 0x03};
inline constexpr Attention kModeParametersChanged{0x2A, 0x01};
inline constexpr Attention kReservationsPreempted{0x2A, 0x03};
inline constexpr Attention kReservationsReleased{0x2A, 0x04};
inline constexpr Attention kRegistrationsPreempted{0x2A, 0x05};
inline constexpr Attention kCommandsClearedByAnotherInitiator{0x2F, 0x00};
inline constexpr Attention kSoftThresholdReached{0x38, 0x07};
inline constexpr Attention kCommandsClearedByProtocolEvent{0x47, 0x7F};
inline constexpr Attention kReportedLunsDataChanged{0x3F, 0x0E};
}  // namespace attention

class AttentionQueue {
  public:
    bool empty() const { return count_ == 0; }

    // A reset says that all is as after power on, so it replaces what was queued (SPC-4 5.13). One
    // more than the queue holds is dropped: the initiator re-reads everything on what is there.
    void raise(Attention attention) {
        constexpr std::uint8_t kResetCode = 0x29;
        if (attention.asc == kResetCode) count_ = 0;
        for (std::size_t i = 0; i < count_; ++i)
            if (queue_[i] == attention || queue_[i] == Attention{kResetCode, 0}) return;
        if (count_ < queue_.size()) queue_[count_++] = attention;
    }

    // The oldest; the queue must not be empty.
    Attention take() {
        const Attention oldest = queue_[0];
        drop(oldest);
        return oldest;
    }

    void drop(Attention attention) {
        std::size_t kept = 0;
        for (std::size_t i = 0; i < count_; ++i)
            if (queue_[i] != attention) queue_[kept++] = queue_[i];
        count_ = kept;
    }

  private:
    std::array<Attention, 8> queue_{};
    std::size_t count_ = 0;
};

}  // namespace goldlink::scsi
