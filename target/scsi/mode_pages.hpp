// Mode pages of a disk (SPC-4 7.5, SBC-3 6.5): their current values as bytes, and what of them the
// device looks at. Not saved: a new device starts from the defaults (PS is zero).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace goldlink::scsi {

struct ModePageDefinition {
    static constexpr std::size_t kMaxBytes = 20;
    std::uint8_t code = 0;
    std::uint8_t length = 0;  // of the whole page, its two header bytes included
    std::array<std::uint8_t, kMaxBytes> defaults{};
    std::array<std::uint8_t, kMaxBytes> changeable{};  // ones where MODE SELECT may write
};

// Ascending by code, as MODE SENSE must return them.
inline constexpr std::size_t kModePageCount = 4;
std::span<const ModePageDefinition, kModePageCount> mode_page_definitions();

class ModePages {
  public:
    using Values =
        std::array<std::array<std::uint8_t, ModePageDefinition::kMaxBytes>, kModePageCount>;

    ModePages() { reset(); }

    void reset();
    const Values& values() const { return values_; }
    void set_values(const Values& values);

    // What the device acts on, kept beside the bytes for the hot path.
    bool write_cache_enabled() const { return write_cache_enabled_; }        // WCE
    bool descriptor_sense() const { return descriptor_sense_; }              // D_SENSE
    bool software_write_protect() const { return software_write_protect_; }  // SWP
    bool reports_thresholds() const { return reports_thresholds_; }          // LBPERE

  private:
    Values values_{};
    bool write_cache_enabled_ = true;
    bool descriptor_sense_ = false;
    bool software_write_protect_ = false;
    bool reports_thresholds_ = false;
};

}  // namespace goldlink::scsi
