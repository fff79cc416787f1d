#include "target/scsi/mode_pages.hpp"

namespace goldlink::scsi {

namespace {

constexpr std::uint8_t kReportThresholds = 0x80;      // LBPERE, page 01h byte 7
constexpr std::uint8_t kWriteCacheEnable = 0x04;      // page 08h byte 2
constexpr std::uint8_t kDescriptorSense = 0x04;       // page 0Ah byte 2
constexpr std::uint8_t kSoftwareWriteProtect = 0x08;  // page 0Ah byte 4
constexpr std::size_t kErrorRecoveryPage = 0;
constexpr std::size_t kCachingPage = 1;
constexpr std::size_t kControlPage = 2;

constexpr std::array<ModePageDefinition, kModePageCount> kPages{{
    // Read-Write Error Recovery (SBC-3 6.5.10). LBPERE: to be told when space gets short.
    {.code = 0x01,
     .length = 12,
     .defaults = {0x01, 10},
     .changeable = {0x01, 10, 0, 0, 0, 0, 0, kReportThresholds}},
    // Caching (SBC-3 6.5.6). WCE: a write is acknowledged from the page cache, SYNCHRONIZE CACHE
    // makes it durable; cleared, every write is as with FUA.
    {.code = 0x08,
     .length = 20,
     .defaults = {0x08, 18, kWriteCacheEnable},
     .changeable = {0x08, 18, kWriteCacheEnable}},
    // Control (SPC-4 7.5.8): one task set (TST 0), unrestricted reordering of simple commands,
    // busy timeout without limit.
    {.code = 0x0A,
     .length = 12,
     .defaults = {0x0A, 10, 0x00, 0x10, 0x00, 0x00, 0, 0, 0xFF, 0xFF},
     .changeable = {0x0A, 10, kDescriptorSense, 0x00, kSoftwareWriteProtect}},
    // Informational Exceptions Control (SPC-4 7.5.13): DEXCPT, none are reported.
    {.code = 0x1C, .length = 12, .defaults = {0x1C, 10, 0x08}, .changeable = {0x1C, 10}},
}};
static_assert(kPages[kErrorRecoveryPage].code == 0x01);
static_assert(kPages[kCachingPage].code == 0x08 && kPages[kControlPage].code == 0x0A);

}  // namespace

std::span<const ModePageDefinition, kModePageCount> mode_page_definitions() { return kPages; }

void ModePages::reset() {
    Values values{};
    for (std::size_t i = 0; i < kModePageCount; ++i) values[i] = kPages[i].defaults;
    set_values(values);
}

void ModePages::set_values(const Values& values) {
    values_ = values;
    write_cache_enabled_ = (values_[kCachingPage][2] & kWriteCacheEnable) != 0;
    reports_thresholds_ = (values_[kErrorRecoveryPage][7] & kReportThresholds) != 0;
    descriptor_sense_ = (values_[kControlPage][2] & kDescriptorSense) != 0;
    software_write_protect_ = (values_[kControlPage][4] & kSoftwareWriteProtect) != 0;
}

}  // namespace goldlink::scsi
