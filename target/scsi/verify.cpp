// VERIFY, WRITE AND VERIFY and PREFETCH (SBC-3 5.29, 5.37, 5.5): commands that read blocks which
// the initiator does not get. They read in pieces of the working memory.
#include "target/scsi/commands.hpp"
#include "target/scsi/disk_steps.hpp"

namespace goldlink::scsi {

namespace {

enum class ByteCheck : std::uint8_t {  // BYTCHK
    none = 0,                          // readable
    compare = 1,                       // equal to the data-out
    reserved = 2,
    one_block = 3,  // each block equal to the one block of data-out
};

ByteCheck byte_check(const Task& task) { return static_cast<ByteCheck>((task.cdb[1] >> 1) & 0x03); }

std::uint64_t total_bytes(const LogicalUnit& unit, const Task& task) {
    return std::uint64_t{task.block_count} << unit.block_shift;
}

// Reads the next piece, up to `end` bytes into the range.
Next read_piece(LogicalUnit& unit, Task& task, std::uint64_t end) {
    const std::uint64_t left = end - task.scratch[kPosition];
    return submit_at_position(unit, task, disk::Operation::read, work_of(unit, task),
                              std::min<std::uint64_t>(left, kWorkBytes));
}

// Compares the piece just read with the data-out; says where they first differ in the data-out, or
// returns false if they are equal.
bool differs(const LogicalUnit& unit, Task& task, ByteCheck check, std::uint64_t& where) {
    const std::uint8_t* read = task.request.data;
    const std::uint64_t length = task.scratch[kLast];
    const std::uint64_t block_mask = unit.block_bytes() - 1u;
    if (check == ByteCheck::compare &&
        std::memcmp(read, task.buffer + task.scratch[kPosition], length) == 0)
        return false;
    for (std::uint64_t i = 0; i < length; ++i) {
        const std::uint64_t at = task.scratch[kPosition] + i;
        where = check == ByteCheck::compare ? at : at & block_mask;
        if (read[i] != task.buffer[where]) return true;
    }
    return false;
}

Next verify_pieces(LogicalUnit& unit, Task& task, ByteCheck check, std::uint64_t end) {
    if (task.scratch[kLast] != 0) {
        std::uint64_t where = 0;
        if (check != ByteCheck::none && differs(unit, task, check, where)) {
            Sense sense = sense::kMiscompare;
            sense.has_information = true;
            sense.information = where;
            return fail_step(task, sense);
        }
        task.scratch[kPosition] += task.scratch[kLast];
    }
    return task.scratch[kPosition] == end ? Next::finished : read_piece(unit, task, end);
}

}  // namespace

template <unsigned CdbLength>
Step prepare_verify(LogicalUnit& unit, Task& task) noexcept {
    if (asks_for_protection(task) || byte_check(task) == ByteCheck::reserved)
        return fail_cdb_field(task, 1);
    if (check_range(unit, task, block_range<CdbLength>(task), kMaxTransferBytes) == Step::finished)
        return Step::finished;
    if (task.block_count == 0 || byte_check(task) == ByteCheck::none) return Step::pending;
    task.data_out_length = byte_check(task) == ByteCheck::one_block
                               ? unit.block_bytes()
                               : task.block_count << unit.block_shift;
    return Step::pending;
}

Next advance_verify(LogicalUnit& unit, Task& task) noexcept {
    return verify_pieces(unit, task, byte_check(task), total_bytes(unit, task));
}

template <unsigned CdbLength>
Step prepare_write_and_verify(LogicalUnit& unit, Task& task) noexcept {
    const ByteCheck check = byte_check(task);
    if (asks_for_protection(task) || check == ByteCheck::reserved || check == ByteCheck::one_block)
        return fail_cdb_field(task, 1);
    if (check_range(unit, task, block_range<CdbLength>(task), kMaxTransferBytes) == Step::finished)
        return Step::finished;
    task.data_out_length = task.block_count << unit.block_shift;
    task.request.fua = true;  // what is verified is what is on the medium
    return Step::pending;
}

Next advance_write_and_verify(LogicalUnit& unit, Task& task) noexcept {
    enum : std::uint64_t { kStart, kWriting, kVerifying };
    const std::uint64_t end = total_bytes(unit, task);
    if (task.scratch[kStage] == kStart) {
        if (end == 0) return Next::finished;
        task.scratch[kStage] = kWriting;
        return submit_at_position(unit, task, disk::Operation::write, task.buffer, end);
    }
    if (task.scratch[kStage] == kWriting) {
        task.scratch[kStage] = kVerifying;
        return read_piece(unit, task, end);
    }
    return verify_pieces(unit, task, byte_check(task), end);
}

// Zero blocks means up to the end, of which as much is fetched as B0 announces (SBC-3 5.5).
template <unsigned CdbLength>
Step prepare_prefetch(LogicalUnit& unit, Task& task) noexcept {
    BlockRange range = block_range<CdbLength>(task);
    if (range.lba < unit.block_count && range.count == 0)
        range.count = static_cast<std::uint32_t>(std::min<std::uint64_t>(
            unit.block_count - range.lba, unit.blocks_of(kMaxTransferBytes)));
    return check_range(unit, task, range, kMaxTransferBytes);
}

// The blocks pass through the working memory and stay in the page cache. GOOD rather than CONDITION
// MET: nothing promises that they stay there.
Next advance_prefetch(LogicalUnit& unit, Task& task) noexcept {
    return verify_pieces(unit, task, ByteCheck::none, total_bytes(unit, task));
}

template Step prepare_verify<10>(LogicalUnit&, Task&) noexcept;
template Step prepare_verify<12>(LogicalUnit&, Task&) noexcept;
template Step prepare_verify<16>(LogicalUnit&, Task&) noexcept;
template Step prepare_write_and_verify<10>(LogicalUnit&, Task&) noexcept;
template Step prepare_write_and_verify<12>(LogicalUnit&, Task&) noexcept;
template Step prepare_write_and_verify<16>(LogicalUnit&, Task&) noexcept;
template Step prepare_prefetch<10>(LogicalUnit&, Task&) noexcept;
template Step prepare_prefetch<16>(LogicalUnit&, Task&) noexcept;

}  // namespace goldlink::scsi
