// MODE SENSE and MODE SELECT, 6 and 10 byte (SPC-4 6.11 to 6.14).
#include "target/scsi/commands.hpp"
#include "target/scsi/parameter_data.hpp"

namespace goldlink::scsi {

namespace {

constexpr std::uint8_t kModeSense10 = 0x5A;
constexpr std::uint8_t kModeSelect10 = 0x55;
constexpr std::uint8_t kAllPages = 0x3F;
constexpr std::uint8_t kAllSubpages = 0xFF;
constexpr std::uint8_t kLongLba = 0x10;                  // LLBAA
constexpr std::uint8_t kDisableBlockDescriptors = 0x08;  // DBD

enum class PageControl : std::uint8_t { current = 0, changeable = 1, defaults = 2, saved = 3 };

PageControl page_control(const Task& task) { return static_cast<PageControl>(task.cdb[2] >> 6); }

Step prepare_mode_sense(Task& task, std::uint32_t allocation_length) {
    if (page_control(task) == PageControl::saved)
        return fail(task, sense::kSavingParametersNotSupported);
    const std::uint8_t page = task.cdb[2] & 0x3F;
    const std::uint8_t subpage = task.cdb[3];
    const auto pages = mode_page_definitions();
    if (page != kAllPages &&
        std::ranges::find(pages, page, &ModePageDefinition::code) == pages.end())
        return fail_cdb_field(task, 2);
    if (subpage != 0 && subpage != kAllSubpages) return fail_cdb_field(task, 3);
    return grant_parameter_data(task, allocation_length);
}

std::span<const std::uint8_t> page_values(const LogicalUnit& unit, std::size_t index,
                                          PageControl control) {
    const ModePageDefinition& definition = mode_page_definitions()[index];
    const auto& bytes = control == PageControl::current      ? unit.mode.values()[index]
                        : control == PageControl::changeable ? definition.changeable
                                                             : definition.defaults;
    return std::span(bytes).first(definition.length);
}

// Block descriptors of SBC-3 6.5.2.2 and 6.5.2.3.
void short_block_descriptor(const LogicalUnit& unit, ParameterData& data) {
    data.be32(static_cast<std::uint32_t>(std::min<std::uint64_t>(unit.block_count, 0xFFFFFFFF)));
    data.be32(unit.block_bytes());
}

void long_block_descriptor(const LogicalUnit& unit, ParameterData& data) {
    data.be64(unit.block_count);
    data.be32(0);
    data.be32(unit.block_bytes());
}

}  // namespace

Step prepare_mode_sense_6(LogicalUnit&, Task& task) noexcept {
    return prepare_mode_sense(task, task.cdb[4]);
}

Step prepare_mode_sense_10(LogicalUnit&, Task& task) noexcept {
    return prepare_mode_sense(task, load_be16(&task.cdb[7]));
}

Step execute_mode_sense(LogicalUnit& unit, Task& task) noexcept {
    constexpr std::uint8_t kWriteProtected = 0x80;
    constexpr std::uint8_t kDpoFua = 0x10;
    const bool ten = task.cdb[0] == kModeSense10;
    const bool descriptors = (task.cdb[1] & kDisableBlockDescriptors) == 0;
    const bool long_lba = ten && (task.cdb[1] & kLongLba) != 0;
    const bool write_protected = unit.read_only || unit.mode.software_write_protect();
    const auto device_specific =
        static_cast<std::uint8_t>(kDpoFua | (write_protected ? kWriteProtected : 0));
    const std::uint8_t descriptor_bytes = !descriptors ? 0 : long_lba ? 16 : 8;

    ParameterData data(task);
    if (ten) {
        data.be16(0);
        data.u8(0);
        data.u8(device_specific);
        data.u8(long_lba && descriptors ? 0x01 : 0x00);
        data.u8(0);
        data.be16(descriptor_bytes);
    } else {
        data.u8(0);
        data.u8(0);
        data.u8(device_specific);
        data.u8(descriptor_bytes);
    }
    if (descriptors) (long_lba ? long_block_descriptor : short_block_descriptor)(unit, data);
    const std::uint8_t page = task.cdb[2] & 0x3F;
    for (std::size_t i = 0; i < kModePageCount; ++i)
        if (page == kAllPages || page == mode_page_definitions()[i].code)
            data.bytes(page_values(unit, i, page_control(task)));
    if (ten)
        data.patch_be16(0, data.size() - 2);
    else
        data.patch_u8(0, data.size() - 1);
    return data.finish();
}

namespace {

Step prepare_mode_select(Task& task, std::uint32_t parameter_list_length) {
    constexpr std::uint8_t kPageFormat = 0x10;
    constexpr std::uint8_t kSavePages = 0x01;
    // Only pages in the standard's format are known, and none can be saved.
    if ((task.cdb[1] & kPageFormat) == 0 || (task.cdb[1] & kSavePages) != 0)
        return fail_cdb_field(task, 1);
    task.data_out_length = parameter_list_length;
    return Step::pending;
}

// Checks the block descriptors at `at`; false if they ask for another format than the unit has.
bool descriptors_match(const LogicalUnit& unit, Bytes descriptors, bool long_lba) {
    if (descriptors.empty()) return true;
    std::uint64_t blocks = 0;
    std::uint32_t block_bytes = 0;
    std::uint64_t all = 0;  // the value that says "as many as there are"
    if (long_lba) {
        blocks = load_be64(&descriptors[0]);
        block_bytes = load_be32(&descriptors[12]);
        all = ~std::uint64_t{0};
    } else {
        blocks = load_be32(&descriptors[0]);
        block_bytes = load_be24(&descriptors[5]);
        all = 0xFFFFFFFF;
    }
    return block_bytes == unit.block_bytes() &&
           (blocks == 0 || blocks == all || blocks == std::min(unit.block_count, all));
}

// Applies one page of the list; returns the offset of the first byte that cannot be, or -1.
int apply_page(Bytes page, std::size_t index, ModePages::Values& values) {
    const ModePageDefinition& definition = mode_page_definitions()[index];
    auto& current = values[index];
    for (std::size_t i = 2; i < definition.length; ++i) {
        const auto changed = static_cast<std::uint8_t>(page[i] ^ current[i]);
        if ((changed & ~definition.changeable[i]) != 0) return static_cast<int>(i);
    }
    for (std::size_t i = 2; i < definition.length; ++i) current[i] = page[i];
    return -1;
}

// Walks the pages of a parameter list from `at`; all or none take effect (SPC-4 6.9.1).
Step select_pages(LogicalUnit& unit, Task& task, Bytes list, std::size_t at) {
    constexpr std::uint8_t kSubpageFormat = 0x40;
    ModePages::Values values = unit.mode.values();
    while (at < list.size()) {
        if (list.size() - at < 2) return fail(task, sense::kParameterListLengthError);
        const auto here = static_cast<std::uint16_t>(at);
        const std::uint8_t code = list[at] & 0x3F;
        const auto pages = mode_page_definitions();
        const auto row = std::ranges::find(pages, code, &ModePageDefinition::code);
        if ((list[at] & kSubpageFormat) != 0 || row == pages.end())
            return fail_parameter_field(task, here);
        if (list[at + 1] + 2u != row->length)
            return fail_parameter_field(task, static_cast<std::uint16_t>(at + 1));
        if (list.size() - at < row->length) return fail(task, sense::kParameterListLengthError);
        const int bad = apply_page(list.subspan(at, row->length),
                                   static_cast<std::size_t>(row - pages.begin()), values);
        if (bad >= 0) return fail_parameter_field(task, static_cast<std::uint16_t>(here + bad));
        at += row->length;
    }
    if (values != unit.mode.values()) {
        unit.mode.set_values(values);
        unit.device->raise_attention(unit, attention::kModeParametersChanged, task.nexus);
    }
    return Step::finished;
}

}  // namespace

Step prepare_mode_select_6(LogicalUnit&, Task& task) noexcept {
    return prepare_mode_select(task, task.cdb[4]);
}

Step prepare_mode_select_10(LogicalUnit&, Task& task) noexcept {
    return prepare_mode_select(task, load_be16(&task.cdb[7]));
}

Step execute_mode_select(LogicalUnit& unit, Task& task) noexcept {
    if (task.data_out_length == 0) return Step::finished;
    const bool ten = task.cdb[0] == kModeSelect10;
    const std::size_t header = ten ? 8 : 4;
    if (task.data_out_length < header) return fail(task, sense::kParameterListLengthError);
    const Bytes list(task.buffer, task.data_out_length);
    const bool long_lba = ten && (list[4] & 0x01) != 0;
    const std::size_t descriptor_bytes = ten ? load_be16(&list[6]) : list[3];
    const std::size_t one_descriptor = long_lba ? 16 : 8;
    if (descriptor_bytes != 0 && descriptor_bytes != one_descriptor)
        return fail_parameter_field(task, ten ? 6 : 3);
    if (list.size() - header < descriptor_bytes)
        return fail(task, sense::kParameterListLengthError);
    if (!descriptors_match(unit, list.subspan(header, descriptor_bytes), long_lba))
        return fail_parameter_field(task, static_cast<std::uint16_t>(header));
    return select_pages(unit, task, list, header + descriptor_bytes);
}

}  // namespace goldlink::scsi
