// ThirdPartyCopy: the copy manager of a device (SPC-4 5.17): its copy operations, running and
// ended, by the list identifier their initiator gave them, and its ROD tokens.
//
// Bounds of a device: kMaxRunning operations at a time, each with one working buffer of kWorkBytes;
// kMaxResults results of ended ones, the oldest dropped first. Results are of one nexus and end
// with it. One thread: the device's reactor.
#pragma once

#include <list>
#include <optional>

#include "target/scsi/copy_operation.hpp"

namespace goldlink::scsi {

// Service actions of THIRD-PARTY COPY IN (84h), SPC-4 6.16 to 6.24.
enum class CopyIn : std::uint8_t {
    copy_status_lid1 = 0x00,
    operating_parameters = 0x03,
    failed_segment_details_lid1 = 0x04,
    rod_token_information = 0x07,
};

// Limits of EXTENDED COPY (LID1), told by RECEIVE COPY OPERATING PARAMETERS and VPD 8F.
inline constexpr std::uint16_t kMaxCscdDescriptors = 8;
inline constexpr std::uint16_t kMaxSegmentDescriptors = 16;
inline constexpr std::size_t kCscdDescriptorBytes = 32;
inline constexpr std::size_t kSegmentDescriptorBytes = 28;
inline constexpr std::uint32_t kMaxDescriptorListBytes =
    kMaxCscdDescriptors * kCscdDescriptorBytes + kMaxSegmentDescriptors * kSegmentDescriptorBytes;
inline constexpr std::uint32_t kMaxSegmentBytes = 32u << 20;
inline constexpr std::uint8_t kBlockToBlock = 0x02;  // segment descriptor
inline constexpr std::uint8_t kIdentificationDescriptor = 0xE4;

// Takes the PARAMETER LIST LENGTH of a command 83h, of at most max_bytes; zero asks for nothing.
Step prepare_copy_out(Task& task, std::uint32_t max_bytes);

class ThirdPartyCopy {
  public:
    static constexpr std::size_t kMaxRunning = 4;
    static constexpr std::size_t kMaxResults = 32;

    explicit ThirdPartyCopy(const DeviceSeams& seams) : tokens(seams) {}

    // An operation for a command, with or without an identifier; one that ended under the same
    // identifier is forgotten. Null: the task has failed, as too many run, or the one of this
    // identifier does (SPC-4 5.17.4.2).
    CopyOperation* open(Task& task, std::optional<std::uint32_t> list_identifier, CopyOut action);
    // The operation of this nexus, or null.
    CopyOperation* find(const Nexus& nexus, std::uint32_t list_identifier);

    void nexus_lost(const Nexus& nexus);  // its copies end at their next piece
    void nexus_closes(const Nexus& nexus);
    void unit_resets(const LogicalUnit& unit);
    bool is_writing(const LogicalUnit& unit, const ByteRange& range) const;
    // Goes on with the operations that gave way to others.
    void next_turn() noexcept;
    void background_ended() { forget_results_of_nobody(); }

    RodTokens tokens;

  private:
    void forget_results_of_nobody();

    std::list<CopyOperation> operations_;  // oldest first
};

}  // namespace goldlink::scsi
