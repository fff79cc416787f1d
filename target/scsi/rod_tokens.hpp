// RodTokens: the ROD tokens of one device (SPC-4 5.17.6). A token stands for ranges of a logical
// unit as they were when it was made (POPULATE TOKEN) and lets who knows it have them copied (WRITE
// USING TOKEN), on any logical unit of the device.
//
// ROD type "point in time copy - change vulnerable": nothing is kept aside. A write to a block that
// a token stands for revokes the token, so a copy either is of that moment or is refused.
//
// Bounded: kMaxTokens a device, the one used longest ago makes room for a new one; each ends when
// not used for its inactivity timeout, and at kMaxLifetimeMs at the latest. A token is known by all
// of its 512 bytes, 64 of them random. One thread: the device's reactor.
#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <vector>

#include "common/bytes.hpp"
#include "target/scsi/device.hpp"
#include "target/scsi/task.hpp"

namespace goldlink::scsi {

struct LogicalUnit;

inline constexpr std::size_t kRodTokenBytes = 512;
inline constexpr std::uint16_t kRodTokenLengthField = kRodTokenBytes - 8;  // 01F8h
inline constexpr std::uint32_t kRodTypeChangeVulnerable = 0x00800001;
inline constexpr std::uint32_t kRodTypePointInTimeAny = 0x0080FFFF;
inline constexpr std::uint32_t kRodTypeBlockZero = 0xFFFF0001;  // SBC-3 4.28.4

struct ByteRange {
    std::uint64_t offset_bytes = 0;
    std::uint64_t length_bytes = 0;
    std::uint64_t end_bytes() const { return offset_bytes + length_bytes; }
    bool overlaps(const ByteRange& other) const {
        return offset_bytes < other.end_bytes() && other.offset_bytes < end_bytes();
    }
};

// A CSCD descriptor that names a logical unit by its NAA (SPC-4 6.4.5.4), for tokens.
void put_identification_descriptor(const LogicalUnit& unit, std::uint8_t* out32);

struct RodToken {
    enum class State : std::uint8_t { valid, revoked, expired };

    std::uint64_t id = 0;  // never 0, never used twice
    std::array<std::uint8_t, kRodTokenBytes> bytes{};
    LogicalUnit* source = nullptr;
    std::vector<ByteRange> ranges;  // in the order they were named
    ByteRange around;               // all of them lie in it
    std::uint64_t length_bytes = 0;
    std::uint64_t inactivity_ms = 0;
    std::uint64_t made_ms = 0;
    std::uint64_t used_ms = 0;
    State state = State::valid;
};

class RodTokens {
  public:
    static constexpr std::size_t kMaxTokens = 64;
    static constexpr std::uint32_t kMaxRanges = 64;
    static constexpr std::uint64_t kMaxBytes = 256u << 20;     // of one token, and of one transfer
    static constexpr std::uint64_t kOptimalBytes = 64u << 20;  // of one transfer
    static constexpr std::uint32_t kDefaultInactivitySeconds = 30;
    static constexpr std::uint32_t kMaxInactivitySeconds = 120;
    static constexpr std::uint32_t kMaxLifetimeSeconds = 600;

    explicit RodTokens(const DeviceSeams& seams) : seams_(seams) {}

    const RodToken& make(LogicalUnit& source, std::vector<ByteRange> ranges,
                         std::uint32_t inactivity_seconds);

    // The valid token with these bytes, which counts as a use of it; else null, and `why`.
    const RodToken* use(Bytes token, Sense& why);
    // Whether a token in use still stands for what it did; that too counts as a use. Else `why`.
    bool still_valid(std::uint64_t id, Sense& why);
    // The token, or null if it stands for nothing any more.
    const RodToken* find(std::uint64_t id);
    void remove(std::uint64_t id);

    // Blocks of `unit` are about to change. Called only while unit.rod_tokens is not zero.
    void source_changes(LogicalUnit& unit, const ByteRange& range);

  private:
    bool use(RodToken* token, Sense& why);
    void end(RodToken& token, RodToken::State state);
    void drop(std::list<RodToken>::iterator token);
    void expire();

    const DeviceSeams& seams_;
    std::list<RodToken> tokens_;
    std::uint64_t last_id_ = 0;
};

}  // namespace goldlink::scsi
