// WRITE BUFFER and READ BUFFER (SPC-4 6.49, 6.20): the echo buffer, by which an initiator tries the
// way to the unit without touching the medium. There is no microcode and no other buffer; of the
// echo buffer BUFFER ID and BUFFER OFFSET are ignored: it is written and read whole.
#include "target/scsi/commands.hpp"
#include "target/scsi/parameter_data.hpp"

namespace goldlink::scsi {

namespace {

enum Mode : std::uint8_t { kDescriptor = 0x03, kEcho = 0x0A, kEchoDescriptor = 0x0B };

constexpr std::uint32_t kEchoBytes = 4096;

Mode mode_of(const Task& task) { return static_cast<Mode>(task.cdb[1] & 0x1F); }

}  // namespace

Step prepare_write_buffer(LogicalUnit&, Task& task) noexcept {
    const std::uint32_t length = load_be24(&task.cdb[6]);
    if (mode_of(task) != kEcho) return fail_cdb_field(task, 1);
    if (length > kEchoBytes) return fail_cdb_field(task, 6);
    task.data_out_length = length;
    return Step::pending;
}

Step execute_write_buffer(LogicalUnit& unit, Task& task) noexcept {
    unit.echo.assign(task.buffer, task.buffer + task.data_out_length);
    return Step::finished;
}

Step prepare_read_buffer(LogicalUnit& unit, Task& task) noexcept {
    const Mode mode = mode_of(task);
    if (mode != kDescriptor && mode != kEcho && mode != kEchoDescriptor)
        return fail_cdb_field(task, 1);
    if (mode == kEcho && unit.echo.empty()) return fail(task, sense::kCommandSequenceError);
    return grant_parameter_data(task, load_be24(&task.cdb[6]));
}

Step execute_read_buffer(LogicalUnit& unit, Task& task) noexcept {
    ParameterData data(task);
    switch (mode_of(task)) {
        case kDescriptor:  // of data buffers: there is none of any id (6.20.5)
            data.be32(0);
            break;
        case kEchoDescriptor:
            data.u8(0);  // EBOS: one nexus may overwrite what another wrote
            data.u8(0);
            data.be16(kEchoBytes);
            break;
        case kEcho:
            data.bytes(unit.echo);
            break;
    }
    return data.finish();
}

}  // namespace goldlink::scsi
