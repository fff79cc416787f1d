// Whatever comes in a CDB and a parameter list: every command ends once, the disk is only asked for
// what it has, and nothing is left in the task set. Run under the sanitizers, buffers are exact.
#include <random>

#include "target/scsi/opcode_table.hpp"
#include "tests/unit/scsi/scsi_rig.hpp"

using namespace goldlink;
using namespace goldlink::scsi;
using namespace goldlink::scsi::testing;

namespace {

constexpr std::uint64_t kBytes = 1 << 20;

class Source {
  public:
    explicit Source(std::uint32_t seed) : random_(seed) {}
    std::uint32_t below(std::uint32_t bound) {
        return static_cast<std::uint32_t>(random_() % bound);
    }
    bool once_in(std::uint32_t n) { return below(n) == 0; }
    std::uint8_t byte() { return static_cast<std::uint8_t>(random_()); }

  private:
    std::mt19937_64 random_;
};

// Mostly commands of the table with small numbers in them, else noise.
Cdb random_cdb(Source& source) {
    Cdb cdb;
    if (source.once_in(8)) {
        for (std::uint8_t& byte : cdb.raw) byte = source.byte();
        return cdb;
    }
    const auto rows = disk_command_set().rows();
    const OpcodeRow& row = rows[source.below(static_cast<std::uint32_t>(rows.size()))];
    cdb.u8(0, row.opcode);
    for (std::size_t i = 1; i + 1 < row.cdb_length; ++i) {
        const bool low_byte = i % 4 == 1 || i + 2 == row.cdb_length;
        if (low_byte || source.once_in(6)) cdb.u8(i, source.byte());
    }
    if (source.once_in(3))
        cdb.u8(1, source.byte());
    else
        cdb.u8(1, 0);
    if (row.service_action != OpcodeRow::kNoServiceAction)
        cdb.u8(1, static_cast<unsigned>(row.service_action));
    return cdb;
}

}  // namespace

TEST_CASE("random commands end once and stay within the disk") {
    const auto seed = static_cast<std::uint32_t>(GENERATE(1, 2, 3, 4));
    CAPTURE(seed);
    Source source(seed);
    Rig rig({.size_bytes = kBytes, .logical_block_bytes = seed == 4 ? 4096u : 512u});
    for (int i = 0; i < 20'000; ++i) {
        rig.disk->hold = source.once_in(3);
        std::vector<std::uint8_t> data_out(source.once_in(2) ? source.below(2048)
                                                             : source.below(64));
        for (std::uint8_t& byte : data_out) byte = source.once_in(3) ? source.byte() : 0;
        Command& command = rig.make(source.once_in(2) ? rig.first : rig.second, random_cdb(source),
                                    std::move(data_out));
        constexpr TaskAttribute kAttributes[] = {TaskAttribute::simple, TaskAttribute::untagged,
                                                 TaskAttribute::ordered,
                                                 TaskAttribute::head_of_queue};
        command.task.attribute = kAttributes[source.below(4)];
        if (!rig.prepare(command)) {
            REQUIRE(command.task.status != Status::good);
        } else if (source.once_in(16)) {
            rig.device->abandon(command.task);
            command.done = true;
        } else {
            rig.execute(command);
        }
        if (source.once_in(64)) {
            const auto function = static_cast<TaskManagement>(1 + source.below(8));
            rig.device->manage(*rig.first, function, 0, &command.task);
        }
        if (!rig.disk->held.empty() && source.once_in(2)) rig.disk->finish_one();
        if (i % 64 == 63) {
            rig.disk->hold = false;
            rig.disk->finish_all();
            REQUIRE(rig.device->tasks_in_flight() == 0);
            for (const Command& each : rig.commands) {
                REQUIRE(each.done);
                REQUIRE(each.completions <= 1);
                REQUIRE(each.task.data_in_length <= each.buffer.size());
            }
            rig.commands.clear();
            for (const MemoryDisk::Seen& seen : rig.disk->submitted) {
                REQUIRE(seen.offset_bytes % 512 == 0);
                REQUIRE(seen.length_bytes % 512 == 0);
                REQUIRE(seen.offset_bytes + seen.length_bytes <= kBytes);
            }
            rig.disk->submitted.clear();
        }
    }
}
