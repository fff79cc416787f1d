// LOG SENSE (SPC-4 6.8, 7.3). There are no sensors, so no Temperature page (0Dh), and nothing that
// LOG SELECT could reset.
#include "target/scsi/commands.hpp"
#include "target/scsi/parameter_data.hpp"

namespace goldlink::scsi {

namespace {

constexpr std::uint8_t kAllSubpages = 0xFF;
constexpr std::uint8_t kSupportedPages = 0x00;
constexpr std::uint8_t kLogicalBlockProvisioning = 0x0C;

// Pages of one unit, ascending.
struct PageList {
    std::array<std::uint8_t, 2> codes{kSupportedPages, kLogicalBlockProvisioning};
    std::size_t count = 1;
    std::span<const std::uint8_t> span() const { return std::span(codes).first(count); }
};

PageList pages_of(const LogicalUnit& unit) {
    PageList pages;
    if (unit.counts_space()) pages.count = 2;
    return pages;
}

// SBC-3 6.4.5: a count of threshold sets of this unit alone, used ones rounded up.
void resource_count(ParameterData& data, std::uint16_t code, std::uint64_t sets) {
    constexpr std::uint8_t kBinaryList = 0x03;
    constexpr std::uint8_t kOfThisUnit = 0x01;  // SCOPE
    data.be16(code);
    data.u8(kBinaryList);
    data.u8(8);
    data.be32(static_cast<std::uint32_t>(std::min<std::uint64_t>(sets, 0xFFFFFFFF)));
    data.u8(kOfThisUnit);
    data.zeroes(3);
}

// `from` is the PARAMETER POINTER: parameters below it are left out.
void provisioning_page(const LogicalUnit& unit, std::uint16_t from, ParameterData& data) {
    constexpr std::uint16_t kAvailable = 0x0001, kUsed = 0x0002;
    const disk::ThinSpace space = *unit.disk->space();
    const unsigned set_shift = unit.block_shift + unit.threshold_exponent();
    const std::uint64_t set_bytes = std::uint64_t{1} << set_shift;
    if (from <= kAvailable) resource_count(data, kAvailable, space.available_bytes >> set_shift);
    if (from <= kUsed) resource_count(data, kUsed, (space.used_bytes + set_bytes - 1) >> set_shift);
}

}  // namespace

Step prepare_log_sense(LogicalUnit& unit, Task& task) noexcept {
    constexpr std::uint8_t kSaveParameters = 0x01;  // SP
    constexpr std::uint8_t kObsoletePpc = 0x02;
    const std::uint8_t page = task.cdb[2] & 0x3F;
    const std::uint8_t subpage = task.cdb[3];
    const std::uint16_t pointer = load_be16(&task.cdb[5]);
    const PageList pages = pages_of(unit);
    if ((task.cdb[1] & (kSaveParameters | kObsoletePpc)) != 0) return fail_cdb_field(task, 1);
    if (std::ranges::find(pages.span(), page) == pages.span().end()) return fail_cdb_field(task, 2);
    if (subpage != 0 && !(subpage == kAllSubpages && page == kSupportedPages))
        return fail_cdb_field(task, 3);
    if (pointer > (page == kSupportedPages ? 0 : 2)) return fail_cdb_field(task, 5);
    return grant_parameter_data(task, load_be16(&task.cdb[7]));
}

Step execute_log_sense(LogicalUnit& unit, Task& task) noexcept {
    constexpr std::uint8_t kSubpageFormat = 0x40;  // SPF
    const std::uint8_t page = task.cdb[2] & 0x3F;
    const bool subpages = task.cdb[3] == kAllSubpages;
    const PageList pages = pages_of(unit);
    ParameterData data(task);
    data.u8(static_cast<std::uint8_t>(page | (subpages ? kSubpageFormat : 0)));
    data.u8(subpages ? kAllSubpages : 0);
    data.be16(0);
    if (page == kLogicalBlockProvisioning) {
        provisioning_page(unit, load_be16(&task.cdb[5]), data);
    } else {
        for (const std::uint8_t each : pages.span()) {
            data.u8(each);
            if (subpages) data.u8(0);
            if (subpages && each == kSupportedPages) {
                data.u8(each);
                data.u8(kAllSubpages);
            }
        }
    }
    data.patch_be16(2, data.size() - 4);
    return data.finish();
}

}  // namespace goldlink::scsi
