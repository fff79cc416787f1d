// INQUIRY, standard data (SPC-4 6.6).
#include "target/scsi/commands.hpp"
#include "target/scsi/parameter_data.hpp"

namespace goldlink::scsi {

Step prepare_inquiry(LogicalUnit&, Task& task) noexcept {
    constexpr std::uint8_t kEvpd = 0x01;
    constexpr std::uint8_t kObsoleteCmdDt = 0x02;
    if ((task.cdb[1] & kObsoleteCmdDt) != 0) return fail_cdb_field(task, 1);
    if ((task.cdb[1] & kEvpd) == 0 && task.cdb[2] != 0) return fail_cdb_field(task, 2);
    return grant_parameter_data(task, load_be16(&task.cdb[3]));
}

namespace {

Step standard_inquiry(const LogicalUnit& unit, Task& task) {
    constexpr std::uint8_t kNoSuchUnit = 0x7F;  // qualifier 011b, device type 1Fh
    constexpr std::uint8_t kSpc4 = 0x06;
    constexpr std::uint8_t kHiSupFormat2 = 0x12;
    constexpr std::uint8_t kThirdPartyCopy = 0x08;  // 3PC
    constexpr std::uint8_t kCmdQue = 0x02;
    ParameterData data(task);
    const bool cdrom = unit.type == DeviceType::cdrom;
    data.u8(unit.absent ? kNoSuchUnit : static_cast<std::uint8_t>(unit.type));
    data.u8(unit.removable ? 0x80 : 0x00);  // RMB
    data.u8(kSpc4);
    data.u8(kHiSupFormat2);
    data.u8(0);  // ADDITIONAL LENGTH, patched
    data.u8(unit.device->third_party && !cdrom ? kThirdPartyCopy : 0);
    data.u8(0x00);
    data.u8(kCmdQue);
    data.text(unit.identity.vendor, 8);
    data.text(unit.identity.product, 16);
    data.text(unit.identity.revision, 4);
    data.zeroes(22);
    // Version descriptors: SAM-5, iSCSI, SPC-4, SBC-3 or MMC-6.
    for (const int descriptor : {0x00A0, 0x0960, 0x0460, cdrom ? 0x04E0 : 0x04C0})
        data.be16(static_cast<std::uint16_t>(descriptor));
    data.zeroes(8 + 22);
    data.patch_u8(4, data.size() - 5);
    return data.finish();
}

}  // namespace

Step execute_inquiry(LogicalUnit& unit, Task& task) noexcept {
    const bool vital_product = (task.cdb[1] & 0x01) != 0;
    return vital_product ? vital_product_data(unit, task, task.cdb[2])
                         : standard_inquiry(unit, task);
}

}  // namespace goldlink::scsi
