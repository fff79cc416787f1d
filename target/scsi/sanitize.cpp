#include "target/scsi/sanitize.hpp"

#include "target/scsi/commands.hpp"
#include "target/scsi/task_set.hpp"
#include "target/scsi/unit_saving.hpp"

namespace goldlink::scsi {

namespace {

constexpr std::uint8_t kOverwrite = 0x01;
constexpr std::uint8_t kExitFailureMode = 0x1F;
constexpr std::uint8_t kImmediate = 0x80;
constexpr std::uint8_t kAllowUnrestricted = 0x20;  // AUSE
constexpr std::uint32_t kPatternHeader = 4;
constexpr std::uint64_t kEraseStepBytes = 64u << 20;
constexpr std::uint64_t kFillStepBytes = 256u << 10;

std::uint8_t service_action(const Task& task) { return task.cdb[1] & 0x1F; }

// Reserved fields are checked: a bit set there may come to mean that less is to be erased.
bool has_reserved_bits(const Task& task) {
    return (task.cdb[1] & 0x40) != 0 ||
           std::any_of(&task.cdb[2], &task.cdb[7], [](std::uint8_t byte) { return byte != 0; });
}

std::uint64_t disk_bytes(const LogicalUnit& unit) { return unit.block_count << unit.block_shift; }

// The block that OVERWRITE leaves everywhere, empty for zeroes (SBC-3 5.30.2.2). `list` is checked.
std::vector<std::uint8_t> pattern_block(const LogicalUnit& unit, Bytes list) {
    constexpr std::uint8_t kInvert = 0x80;
    const Bytes pattern = list.subspan(kPatternHeader, load_be16(&list[2]));
    const unsigned passes = list[0] & 0x1F;
    // INVERT turns the pattern over between passes.
    const bool inverted = (list[0] & kInvert) != 0 && passes % 2 == 0;
    std::vector<std::uint8_t> block(unit.block_bytes());
    for (std::size_t i = 0; i < block.size(); ++i)
        block[i] = static_cast<std::uint8_t>(pattern[i % pattern.size()] ^ (inverted ? 0xFF : 0));
    if (std::ranges::all_of(block, [](std::uint8_t byte) { return byte == 0; })) block.clear();
    return block;
}

void on_request_complete(disk::Request& request) noexcept;

void begin_phase(Sanitize& sanitize, Sanitize::Phase phase) {
    sanitize.phase = phase;
    sanitize.position_bytes = 0;
}

void begin(LogicalUnit& unit, bool unrestricted, std::vector<std::uint8_t> pattern) {
    Sanitize& sanitize = unit.sanitize;
    sanitize.state = Sanitize::State::running;
    sanitize.unrestricted = unrestricted;
    sanitize.pattern = std::move(pattern);
    update_restricted(unit);
    begin_phase(sanitize, Sanitize::Phase::erase);
}

// The operation begins, or ends, when that is durable; without the seam at once.
bool must_save(const LogicalUnit& unit) { return unit.device->seams.save != nullptr; }

// Ends the task, which is not the operation.
void complete_task(LogicalUnit& unit) noexcept {
    Task* const task = std::exchange(unit.sanitize.task, nullptr);
    if (task == nullptr) return;
    leave_task_set(unit, *task);
    task->complete(*task);
}

void settle(LogicalUnit& unit) noexcept {
    Sanitize& sanitize = unit.sanitize;
    const bool failed = sanitize.outcome == Sanitize::State::failed;
    sanitize.state = sanitize.outcome;
    sanitize.pattern = {};
    update_restricted(unit);
    if (failed && sanitize.task != nullptr) fail(*sanitize.task, sense::kSanitizeFailed);
    complete_task(unit);
}

void end(LogicalUnit& unit, disk::Outcome outcome) noexcept {
    Sanitize& sanitize = unit.sanitize;
    sanitize.fill = {};
    sanitize.outcome =
        outcome == disk::Outcome::ok ? Sanitize::State::idle : Sanitize::State::failed;
    begin_phase(sanitize, Sanitize::Phase::forget);
    if (must_save(unit))
        sanitize.ticket = begin_save(unit);
    else
        settle(unit);
}

// After a request that went well: on to the next one, or false at the end of all.
bool advance(LogicalUnit& unit) {
    Sanitize& sanitize = unit.sanitize;
    if (sanitize.phase == Sanitize::Phase::flush) return false;
    sanitize.position_bytes += sanitize.request.length_bytes;
    if (sanitize.position_bytes < disk_bytes(unit)) return true;
    const bool fills = sanitize.phase == Sanitize::Phase::erase && !sanitize.pattern.empty();
    begin_phase(sanitize, fills ? Sanitize::Phase::fill : Sanitize::Phase::flush);
    return true;
}

void on_outcome(LogicalUnit& unit, disk::Outcome outcome) noexcept {
    if (outcome != disk::Outcome::ok || !advance(unit))
        end(unit, outcome);
    else
        unit.device->wake();
}

void on_request_complete(disk::Request& request) noexcept {
    LogicalUnit& unit = *static_cast<LogicalUnit*>(request.owner);
    unit.sanitize.in_flight = false;
    --unit.device->tasks_in_flight;
    on_outcome(unit, request.outcome);
}

void fill_request(LogicalUnit& unit) {
    Sanitize& sanitize = unit.sanitize;
    disk::Request& request = sanitize.request;
    const std::uint64_t left = disk_bytes(unit) - sanitize.position_bytes;
    request = {};
    request.complete = &on_request_complete;
    request.owner = &unit;
    request.offset_bytes = sanitize.position_bytes;
    switch (sanitize.phase) {
        case Sanitize::Phase::erase:
            request.operation = disk::Operation::write_zeroes;
            request.length_bytes = std::min(left, kEraseStepBytes);
            break;
        case Sanitize::Phase::fill:
            if (sanitize.fill.empty()) {
                sanitize.fill.resize(kFillStepBytes);
                for (std::size_t at = 0; at < sanitize.fill.size(); at += sanitize.pattern.size())
                    std::ranges::copy(sanitize.pattern, &sanitize.fill[at]);
            }
            request.operation = disk::Operation::write;
            request.length_bytes = std::min(left, kFillStepBytes);
            request.data = sanitize.fill.data();
            break;
        default:
            request.operation = disk::Operation::flush;
            request.offset_bytes = 0;
            break;
    }
}

}  // namespace

void step_sanitize(LogicalUnit& unit) noexcept {
    Sanitize& sanitize = unit.sanitize;
    if (sanitize.task != nullptr && sanitize.task->aborted) complete_task(unit);
    if (sanitize.state != Sanitize::State::running || sanitize.in_flight || sanitize.ticket != 0)
        return;
    fill_request(unit);
    sanitize.in_flight = true;
    ++unit.device->tasks_in_flight;
    if (submit_to_disk(unit, sanitize.request) == disk::Submit::done)
        on_request_complete(sanitize.request);
}

void sanitize_saved(LogicalUnit& unit, std::uint64_t ticket, bool ok) noexcept {
    Sanitize& sanitize = unit.sanitize;
    if (sanitize.ticket != ticket) return;
    sanitize.ticket = 0;
    if (sanitize.phase == Sanitize::Phase::forget) {
        if (!ok) sanitize.outcome = Sanitize::State::failed;
        return settle(unit);
    }
    if (!ok) {  // nothing has been done yet, and it must not begin
        sanitize.state = Sanitize::State::idle;
        sanitize.pattern = {};
        update_restricted(unit);
        if (sanitize.task != nullptr) fail(*sanitize.task, sense::kInternalTargetFailure);
        return complete_task(unit);
    }
    begin_phase(sanitize, Sanitize::Phase::erase);
    unit.device->wake();
    if (sanitize.immediate) complete_task(unit);
}

std::optional<PersistentSanitize> persistent_sanitize(const Sanitize& sanitize) {
    const auto state =
        sanitize.phase == Sanitize::Phase::forget ? sanitize.outcome : sanitize.state;
    if (state == Sanitize::State::idle) return std::nullopt;
    return PersistentSanitize{state == Sanitize::State::failed, sanitize.unrestricted,
                              sanitize.pattern};
}

void restore_sanitize(LogicalUnit& unit, const PersistentSanitize& state) {
    std::vector<std::uint8_t> pattern = state.pattern;
    // A pattern of another block length is none of ours; zeroes destroy no less.
    if (pattern.size() != unit.block_bytes()) pattern.clear();
    begin(unit, state.unrestricted, std::move(pattern));
    if (state.failed)
        unit.sanitize.state = Sanitize::State::failed;
    else
        unit.device->wake();
}

Sense sanitize_sense(const LogicalUnit& unit) {
    const Sanitize& sanitize = unit.sanitize;
    if (sanitize.state == Sanitize::State::failed) return sense::kSanitizeFailed;
    Sense sense = sense::kSanitizeInProgress;
    const bool fills = !sanitize.pattern.empty();
    const bool second_half = fills && sanitize.phase == Sanitize::Phase::fill;
    const double all = static_cast<double>(disk_bytes(unit)) * (fills ? 2 : 1);
    const double done =
        sanitize.phase == Sanitize::Phase::flush || sanitize.phase == Sanitize::Phase::forget
            ? all
            : static_cast<double>(sanitize.position_bytes) + (second_half ? all / 2 : 0);
    sense.has_progress = true;
    sense.progress = static_cast<std::uint16_t>(std::min(done / all * 65536, 65535.0));
    return sense;
}

Step prepare_sanitize(LogicalUnit& unit, Task& task) noexcept {
    const std::uint32_t length = load_be16(&task.cdb[7]);
    const bool overwrites = service_action(task) == kOverwrite;
    if (has_reserved_bits(task)) return fail_cdb_field(task, 1);
    if (overwrites ? length <= kPatternHeader || length > unit.block_bytes() + kPatternHeader
                   : length != 0)
        return fail_cdb_field(task, 7);
    // What failed under restrictions may not be tried again without them.
    const Sanitize& sanitize = unit.sanitize;
    if (sanitize.state == Sanitize::State::failed && !sanitize.unrestricted &&
        (task.cdb[1] & kAllowUnrestricted) != 0)
        return fail_cdb_field(task, 1);
    task.data_out_length = length;
    return Step::pending;
}

Step execute_sanitize(LogicalUnit& unit, Task& task) noexcept {
    std::vector<std::uint8_t> pattern;
    if (service_action(task) == kOverwrite) {
        const Bytes list(task.buffer, task.data_out_length);
        constexpr std::uint8_t kTest = 0x60;
        if ((list[0] & kTest) != 0 || (list[0] & 0x1F) == 0) return fail_parameter_field(task, 0);
        const std::uint32_t pattern_length = load_be16(&list[2]);
        if (pattern_length == 0 || pattern_length != task.data_out_length - kPatternHeader)
            return fail_parameter_field(task, 2);
        pattern = pattern_block(unit, list);
    }
    Sanitize& sanitize = unit.sanitize;
    begin(unit, (task.cdb[1] & kAllowUnrestricted) != 0, std::move(pattern));
    sanitize.immediate = (task.cdb[1] & kImmediate) != 0;
    if (must_save(unit)) {
        begin_phase(sanitize, Sanitize::Phase::record);
        sanitize.ticket = begin_save(unit);
    } else {
        unit.device->wake();
        if (sanitize.immediate) return Step::finished;
    }
    sanitize.task = &task;
    return Step::pending;
}

Step prepare_exit_sanitize_failure(LogicalUnit&, Task& task) noexcept {
    if (has_reserved_bits(task) || (task.cdb[1] & kImmediate) != 0) return fail_cdb_field(task, 1);
    if (load_be16(&task.cdb[7]) != 0) return fail_cdb_field(task, 7);
    return Step::pending;
}

Step execute_exit_sanitize_failure(LogicalUnit& unit, Task& task) noexcept {
    Sanitize& sanitize = unit.sanitize;
    if (sanitize.state != Sanitize::State::failed) return Step::finished;
    if (!sanitize.unrestricted) return fail_cdb_field(task, 1);
    sanitize.state = Sanitize::State::idle;
    sanitize.outcome = Sanitize::State::idle;
    update_restricted(unit);
    return must_save(unit) ? answer_when_saved(unit, task) : Step::finished;
}

}  // namespace goldlink::scsi
