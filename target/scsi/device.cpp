#include "target/scsi/device.hpp"

#include <algorithm>
#include <bit>
#include <optional>

#include "common/check.hpp"
#include "target/scsi/data_out.hpp"
#include "target/scsi/logical_unit.hpp"
#include "target/scsi/sense.hpp"
#include "target/scsi/task_set.hpp"
#include "target/scsi/third_party_copy.hpp"
#include "target/scsi/unit_saving.hpp"

namespace goldlink::scsi {

namespace {

// The logical unit number in 8 LUN bytes: peripheral device addressing on bus 0 or flat space
// addressing, single level (SAM-5 4.7.7).
std::optional<std::uint16_t> decode_lun(std::uint64_t lun) {
    constexpr std::uint64_t kLowerLevels = 0x0000'FFFF'FFFF'FFFF;
    if ((lun & kLowerLevels) != 0) return std::nullopt;
    const auto first = static_cast<std::uint16_t>(lun >> 48);
    if (first <= 0xFF) return first;
    if ((first >> 14) == 0b01) return static_cast<std::uint16_t>(first & 0x3FFF);
    return std::nullopt;
}

std::uint32_t unit_index(const DeviceState& state, std::uint64_t lun) {
    const std::optional<std::uint16_t> number = decode_lun(lun);
    if (!number || *number >= state.index_of_lun.size()) return state.absent_index();
    return state.index_of_lun[*number];
}

void set_up_disk(LogicalUnit& unit, const disk::Geometry& geometry) {
    const std::uint32_t block = geometry.logical_block_bytes;
    CHECK(unit.type == DeviceType::cdrom ? block == 2048 : block == 512 || block == 4096,
          "logical blocks have 512 or 4096 bytes, of a CD-ROM 2048");
    CHECK(geometry.physical_block_bytes >= block &&
              std::has_single_bit(geometry.physical_block_bytes),
          "physical blocks are a power of two of logical blocks");
    unit.block_shift = static_cast<unsigned>(std::countr_zero(block));
    unit.block_count = geometry.size_bytes >> unit.block_shift;
    CHECK(unit.block_count > 0, "a disk has at least one block");
    unit.physical_exponent =
        static_cast<unsigned>(std::countr_zero(geometry.physical_block_bytes)) - unit.block_shift;
    unit.read_only = geometry.read_only;
    unit.thin = geometry.thin;
    unit.max_atomic_bytes = geometry.max_atomic_bytes;
}

Step fail_attention(Task& task, Attention attention) {
    constexpr std::uint8_t kUnitAttention = 0x6;
    return fail(task, sense::make(kUnitAttention, attention.asc, attention.ascq));
}

constexpr std::uint8_t kNaca = 0x04;  // CONTROL byte (SAM-5 5.2); auto contingent allegiance
                                      // is not implemented (NORMACA is zero)

// The checks every command needs, in SAM-5's and SPC-4's order. `row` may be null.
Step check_command(LogicalUnit& unit, Task& task, const OpcodeRow* row) {
    const std::uint8_t traits = row != nullptr ? row->traits : std::uint8_t{kPlain};
    if (unit.absent && (traits & kAnyLun) == 0) [[unlikely]]
        return fail(task, sense::kLogicalUnitNotSupported);
    // Without NORMACA there is never an auto contingent allegiance for it (SAM-5 8.6.5).
    if (task.attribute == TaskAttribute::aca) [[unlikely]]
        return fail(task, sense::kInvalidMessage);
    NexusUnit& view = nexus_unit_of(task);
    if (!view.attentions.empty() && (traits & kPassesAttention) == 0) [[unlikely]]
        return fail_attention(task, view.attentions.take());
    constexpr std::uint8_t kConditional = kThinOnly | kBackground | kThirdParty | kAtomic;
    if (row == nullptr || ((traits & kConditional) != 0 && !unit.device->knows(unit, *row)))
        [[unlikely]] {
        // An opcode all of whose rows are unknown is unknown itself.
        const auto rows = unit.commands->rows_of(task.cdb[0]);
        if (unit.commands->has_service_actions(task.cdb[0]) &&
            std::ranges::any_of(
                rows, [&](const OpcodeRow& each) { return unit.device->knows(unit, each); }))
            return fail_cdb_field(task, 1);
        return fail(task, sense::kInvalidOperationCode);
    }
    if ((task.cdb[row->cdb_length - 1u] & kNaca) != 0) [[unlikely]]
        return fail_cdb_field(task, static_cast<std::uint16_t>(row->cdb_length - 1));
    if (unit.reservations.held() &&
        unit.reservations.conflicts(*task.nexus, view.registration, row->under)) [[unlikely]]
        return fail_status(task, Status::reservation_conflict);
    if (unit.restricted && refuse_restricted(unit, task) == Step::finished) [[unlikely]]
        return Step::finished;
    if ((traits & kWrites) != 0 && (unit.read_only || unit.mode.software_write_protect()))
        [[unlikely]]
        return fail(task, sense::kWriteProtected);
    return Step::pending;
}

// SANITIZE goes on without its task (SBC-3 4.11), which the next background step completes.
void abort_task(LogicalUnit& unit, Task& task) {
    task.aborted = true;
    if (unit.sanitize.task == &task) unit.device->wake();
}

}  // namespace

Device::Device(std::string target_name, std::vector<LogicalUnitDefinition> units, DeviceSeams seams)
    : state_(std::make_unique<DeviceState>()) {
    state_->seams = std::move(seams);
    if (state_->seams.wake && state_->seams.now_ms && state_->seams.fill_random)
        state_->third_party = std::make_unique<ThirdPartyCopy>(state_->seams);
    state_->target_name = std::move(target_name);
    state_->units = std::vector<LogicalUnit>(units.size() + 1);
    state_->index_of_lun.fill(static_cast<std::uint16_t>(state_->absent_index()));
    for (std::size_t i = 0; i < units.size(); ++i) {
        LogicalUnit& unit = state_->units[i];
        const std::uint16_t lun = units[i].lun;
        CHECK(lun < state_->index_of_lun.size(), "LUNs go from 0 to 255");
        CHECK(state_->index_of_lun[lun] == state_->absent_index(), "two units with one LUN");
        CHECK(units[i].disk != nullptr, "a logical unit has a disk");
        state_->index_of_lun[lun] = static_cast<std::uint16_t>(i);
        unit.lun = lun;
        unit.type = units[i].type;
        unit.identity = std::move(units[i].identity);
        unit.disk = std::move(units[i].disk);
        set_up_disk(unit, unit.disk->geometry());
        unit.removable = units[i].removable || unit.type == DeviceType::cdrom;
    }
    state_->units.back().absent = true;
    for (LogicalUnit& unit : state_->units) {
        unit.device = state_.get();
        unit.commands = unit.type == DeviceType::cdrom ? &cdrom_command_set() : &disk_command_set();
    }
    for (std::size_t i = 0; i < units.size(); ++i)
        scsi::restore(state_->units[i], units[i].restored);
}

Device::~Device() { CHECK(tasks_in_flight() == 0, "a device ends after its tasks"); }

Nexus* Device::open_nexus(std::string_view initiator_port, std::uint16_t portal_group_tag) {
    if (state_->nexuses.empty()) close_trays(*state_);
    Nexus& nexus = state_->nexuses.emplace_back();
    nexus.initiator_port = initiator_port;
    nexus.portal_group_tag = portal_group_tag;
    nexus.device = state_.get();
    nexus.units.resize(state_->units.size());
    for (std::size_t i = 0; i < state_->units.size(); ++i) {
        LogicalUnit& unit = state_->units[i];
        if (unit.absent) continue;
        nexus.units[i].attentions.raise(attention::kPowerOnOrReset);
        start_for_login(unit);
        if (const Registration* known = unit.reservations.find(initiator_port, portal_group_tag))
            nexus.units[i].registration = known->id;
    }
    return &nexus;
}

void Device::close_nexus(Nexus* nexus) {
    CHECK(nexus->tasks == 0, "a nexus ends after its tasks");
    for (LogicalUnit& unit : state_->units)
        if (unit.reservations.legacy_holder == nexus) unit.reservations.legacy_holder = nullptr;
    if (state_->third_party) state_->third_party->nexus_closes(*nexus);
    state_->nexuses.remove_if([&](const Nexus& each) { return &each == nexus; });
}

void Device::nexus_lost(Nexus& nexus) noexcept {
    for (LogicalUnit& unit : state_->units)
        if (Task* const task = unit.sanitize.task; task != nullptr && task->nexus == &nexus)
            abort_task(unit, *task);
    if (state_->third_party) state_->third_party->nexus_lost(nexus);
}

Step Device::prepare(Task& task) noexcept {
    task.status = Status::good;
    task.sense = {};
    task.data_out_length = 0;
    task.data_in_length = 0;
    task.lba = 0;
    task.block_count = 0;
    task.aborted = false;
    task.request.atomic = false;
    task.phase = TaskPhase::outside;
    std::ranges::fill(task.scratch, 0u);
    task.logical_unit = unit_index(*state_, task.lun);
    LogicalUnit& unit = state_->units[task.logical_unit];
    task.descriptor_sense = unit.mode.descriptor_sense();
    const OpcodeRow* row = unit.commands->find(task.cdb.data());
    task.opcode = row;
    if (check_command(unit, task, row) == Step::finished) return Step::finished;
    if (row->prepare(unit, task) == Step::finished) return Step::finished;
    if (task.offered_out != task.data_out_length &&
        settle_data_out(unit, task, *row) == Step::finished) [[unlikely]]
        return Step::finished;
    enter_task_set(unit, task);
    return Step::pending;
}

Step Device::execute(Task& task) noexcept {
    LogicalUnit& unit = state_->units[task.logical_unit];
    if (unit.constrained != 0 && !task.aborted && !may_start(unit, task)) [[unlikely]] {
        task.phase = TaskPhase::waiting;
        ++unit.waiting;
        return Step::pending;
    }
    return start_task(unit, task);
}

void Device::abandon(Task& task) noexcept {
    CHECK(task.phase == TaskPhase::prepared, "only a task that was not executed can be abandoned");
    leave_task_set(state_->units[task.logical_unit], task);
}

void Device::run_background() noexcept {
    state_->woken = false;
    for (LogicalUnit& unit : state_->units) step_sanitize(unit);
    if (state_->third_party) state_->third_party->next_turn();
}

void Device::space_warning(std::uint16_t lun) noexcept {
    LogicalUnit& unit = state_->units[state_->index_of_lun.at(lun)];
    if (!unit.absent && unit.mode.reports_thresholds())
        state_->raise_attention(unit, attention::kSoftThresholdReached, nullptr);
}

void Device::saved(std::uint16_t lun, std::uint64_t ticket, bool ok) noexcept {
    scsi::saved(state_->units[state_->index_of_lun.at(lun)], ticket, ok);
}

std::size_t Device::tasks_in_flight() const { return state_->tasks_in_flight; }

namespace {

template <typename Affected>
void abort_tasks(LogicalUnit& unit, Affected affected) {
    for (Task* task = unit.first_task; task != nullptr; task = task->next)
        if (affected(*task)) abort_task(unit, *task);
}

// CLEAR TASK SET: the other nexuses learn of it only by an attention (SAM-5 7.5; TAS is zero).
void clear_task_set(LogicalUnit& unit, const Nexus& issuer) {
    for (Nexus& nexus : unit.device->nexuses) {
        bool had_tasks = false;
        abort_tasks(unit, [&](const Task& task) {
            if (task.nexus != &nexus) return false;
            had_tasks = true;
            return true;
        });
        const auto index = static_cast<std::size_t>(&unit - unit.device->units.data());
        if (had_tasks && &nexus != &issuer)
            nexus.units[index].attentions.raise(attention::kCommandsClearedByAnotherInitiator);
    }
}

// SAM-5 6.3.3: persistent reservations stay, everything else is as after power on.
void reset_unit(LogicalUnit& unit, Attention attention) {
    abort_tasks(unit, [](const Task&) { return true; });
    unit.reservations.legacy_holder = nullptr;
    unit.mode.reset();
    reset_medium_state(unit);
    if (unit.device->third_party) unit.device->third_party->unit_resets(unit);
    unit.device->raise_attention(unit, attention, nullptr);
}

}  // namespace

TaskManagementAnswer Device::manage(Nexus& nexus, TaskManagement function, std::uint64_t lun,
                                    Task* referenced) noexcept {
    using Answer = TaskManagementAnswer;
    if (function == TaskManagement::target_warm_reset ||
        function == TaskManagement::target_cold_reset) {
        const bool cold = function == TaskManagement::target_cold_reset;
        for (LogicalUnit& unit : state_->units)
            if (!unit.absent)
                reset_unit(unit, cold ? attention::kPowerOn : attention::kBusDeviceReset);
        return Answer::complete;
    }
    LogicalUnit& unit = state_->units[unit_index(*state_, lun)];
    if (unit.absent) return Answer::lun_does_not_exist;
    switch (function) {
        case TaskManagement::abort_task:
            if (referenced == nullptr || referenced->nexus != &nexus ||
                referenced->phase == TaskPhase::outside || &unit_of(*referenced) != &unit)
                return Answer::task_does_not_exist;
            abort_task(unit, *referenced);
            return Answer::complete;
        case TaskManagement::abort_task_set:
            abort_tasks(unit, [&](const Task& task) { return task.nexus == &nexus; });
            return Answer::complete;
        case TaskManagement::clear_task_set:
            clear_task_set(unit, nexus);
            return Answer::complete;
        case TaskManagement::logical_unit_reset:
            reset_unit(unit, attention::kBusDeviceReset);
            return Answer::complete;
        case TaskManagement::task_reassign:
            return Answer::reassign_not_supported;
        default:
            return Answer::not_supported;
    }
}

void Device::tasks_lost(Nexus& nexus, std::uint64_t lun) noexcept {
    const std::uint32_t index = unit_index(*state_, lun);
    if (!state_->units[index].absent)
        nexus.units[index].attentions.raise(attention::kCommandsClearedByProtocolEvent);
}

}  // namespace goldlink::scsi
