// READ, WRITE and SYNCHRONIZE CACHE (SBC-3 5.8 to 5.11, 5.18, 5.32): the path of nearly every
// command. One disk request each; no allocation, no lock.
#include "target/scsi/commands.hpp"
#include "target/scsi/disk_steps.hpp"

namespace goldlink::scsi {

namespace {

constexpr std::uint8_t kFua = 0x08;

// DPO is a caching hint we have no use for, and FUA asks of a read what the page cache gives
// anyway: data no older than what a FUA write has made durable.
template <unsigned CdbLength>
Step prepare_transfer(LogicalUnit& unit, Task& task, bool is_write) {
    if constexpr (CdbLength != 6)
        if (asks_for_protection(task)) [[unlikely]]
            return fail_cdb_field(task, 1);
    if (check_range(unit, task, block_range<CdbLength>(task), kMaxTransferBytes) == Step::finished)
        return Step::finished;
    const std::uint32_t length = task.block_count << unit.block_shift;
    if (is_write) {
        task.data_out_length = length;
        task.request.fua =
            (CdbLength != 6 && (task.cdb[1] & kFua) != 0) || !unit.mode.write_cache_enabled();
    } else {
        task.data_in_length = length;
        task.request.fua = false;
    }
    return Step::pending;
}

Step submit(LogicalUnit& unit, Task& task, disk::Operation operation, std::uint64_t length) {
    disk::Request& request = task.request;
    request.operation = operation;
    request.offset_bytes = task.lba << unit.block_shift;
    request.length_bytes = length;
    request.data = task.buffer;
    request.complete = &on_disk_request_complete;
    request.owner = &task;
    if (submit_to_disk(unit, request) == disk::Submit::pending) return Step::pending;
    if (request.outcome != disk::Outcome::ok) [[unlikely]]
        return fail(task, sense_of(request.outcome));
    return Step::finished;
}

}  // namespace

template <unsigned CdbLength>
Step prepare_read(LogicalUnit& unit, Task& task) noexcept {
    return prepare_transfer<CdbLength>(unit, task, false);
}

template <unsigned CdbLength>
Step prepare_write(LogicalUnit& unit, Task& task) noexcept {
    return prepare_transfer<CdbLength>(unit, task, true);
}

Step execute_read(LogicalUnit& unit, Task& task) noexcept {
    if (task.block_count == 0) [[unlikely]]
        return Step::finished;
    task.request.may_lend = task.may_lend;
    return submit(unit, task, disk::Operation::read, task.data_in_length);
}

Step execute_write(LogicalUnit& unit, Task& task) noexcept {
    if (task.block_count == 0) [[unlikely]]
        return Step::finished;
    return submit(unit, task, disk::Operation::write,
                  std::uint64_t{task.block_count} << unit.block_shift);
}

// Zero blocks means up to the end. IMMED allows an answer ahead of the work and does not ask for
// it.
template <unsigned CdbLength>
Step prepare_synchronize_cache(LogicalUnit& unit, Task& task) noexcept {
    const BlockRange range = block_range<CdbLength>(task);
    if (range.lba >= unit.block_count || range.count > unit.block_count - range.lba)
        return fail(task, sense::kLbaOutOfRange);
    task.request.fua = false;
    return Step::pending;
}

// Flushes the whole disk: a superset of the range is allowed (SBC-3 5.18.1).
Step execute_synchronize_cache(LogicalUnit& unit, Task& task) noexcept {
    return submit(unit, task, disk::Operation::flush, 0);
}

template Step prepare_read<6>(LogicalUnit&, Task&) noexcept;
template Step prepare_read<10>(LogicalUnit&, Task&) noexcept;
template Step prepare_read<12>(LogicalUnit&, Task&) noexcept;
template Step prepare_read<16>(LogicalUnit&, Task&) noexcept;
template Step prepare_write<6>(LogicalUnit&, Task&) noexcept;
template Step prepare_write<10>(LogicalUnit&, Task&) noexcept;
template Step prepare_write<12>(LogicalUnit&, Task&) noexcept;
template Step prepare_write<16>(LogicalUnit&, Task&) noexcept;
template Step prepare_synchronize_cache<10>(LogicalUnit&, Task&) noexcept;
template Step prepare_synchronize_cache<16>(LogicalUnit&, Task&) noexcept;

}  // namespace goldlink::scsi
