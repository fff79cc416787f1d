// Whatever comes in a CDB and a parameter list: every command ends once, the disk is only asked for
// what it has, and nothing is left in the task set. Run under the sanitizers, buffers are exact.
#include <map>
#include <random>

#include "target/scsi/opcode_table.hpp"
#include "tests/unit/scsi/copy_rig.hpp"

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
Cdb random_cdb(Source& source, const CommandSet& commands) {
    Cdb cdb;
    if (source.once_in(8)) {
        for (std::uint8_t& byte : cdb.raw) byte = source.byte();
        return cdb;
    }
    const auto rows = commands.rows();
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

// A third-party copy of a few blocks within the unit that has a fair chance to be done. The token
// of a WRITE USING TOKEN is that of the nexus's last POPULATE TOKEN, if it can still be had.
Cdb random_copy(Source& source, CopyRig& rig, Nexus* nexus, std::vector<std::uint8_t>& list) {
    const std::uint32_t identifier = source.below(4);
    const unsigned action = source.below(3);
    const auto put_range = [&](std::size_t at) {
        store_be64(&list[at], source.below(200));
        store_be32(&list[at + 8], source.below(40));
    };
    if (action == 0) {
        list.assign(16 + 32 + 28, 0);
        list[0] = static_cast<std::uint8_t>(identifier);
        store_be16(&list[2], 32);
        store_be32(&list[8], 28);
        list[16] = 0xE4;
        list[20] = 0x01;
        list[21] = 0x03;
        list[23] = 8;
        store_be64(&list[24], 0x3123456789ABCDEF);
        store_be24(&list[16 + 29], rig.disk->geometry().logical_block_bytes);
        list[48] = 0x02;
        store_be16(&list[50], 24);
        store_be16(&list[58], static_cast<std::uint16_t>(source.below(160)));
        store_be64(&list[60], source.below(100));
        store_be64(&list[68], source.below(100));
        return copy_out(0, 0, list.size());
    }
    if (action == 1) {
        list.assign(32, 0);
        store_be16(&list[0], 30);
        store_be16(&list[14], 16);
        put_range(16);
        return copy_out(0x10, identifier, list.size());
    }
    rig.disk->hold = false;
    const Command& told = rig.run(nexus, copy_in(7, identifier));
    list.assign(552, 0);
    store_be16(&list[0], 550);
    list[2] = static_cast<std::uint8_t>(source.below(4));  // DEL_TKN, IMMED
    if (told.good() && told.data_in().size() == 38 + 512)
        std::ranges::copy(told.data_in().last(512), list.begin() + 16);
    store_be16(&list[534], 16);
    put_range(536);
    rig.disk->hold = source.once_in(2);
    return copy_out(0x11, identifier, list.size());
}

}  // namespace

TEST_CASE("random commands end once and stay within the disk") {
    const auto seed = static_cast<std::uint32_t>(GENERATE(1, 2, 3, 4, 5, 6));
    CAPTURE(seed);
    Source source(seed);
    const bool cdrom = seed > 4;
    const std::uint32_t block_bytes = cdrom ? kDiscBlockBytes : seed == 4 ? 4096 : 512;
    CopyRig rig({{.size_bytes = kBytes, .logical_block_bytes = block_bytes, .read_only = cdrom}});
    const CommandSet& commands = cdrom ? cdrom_command_set() : disk_command_set();
    std::map<unsigned, int> copied;  // by service action
    for (int i = 0; i < 20'000; ++i) {
        rig.disk->hold = source.once_in(3);
        std::vector<std::uint8_t> data_out(source.once_in(2) ? source.below(2048)
                                                             : source.below(64));
        for (std::uint8_t& byte : data_out) byte = source.once_in(3) ? source.byte() : 0;
        Nexus* const nexus = source.once_in(2) ? rig.first : rig.second;
        const Cdb cdb = source.once_in(8) ? random_copy(source, rig, nexus, data_out)
                                          : random_cdb(source, commands);
        Command& command = rig.make(nexus, cdb, std::move(data_out));
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
        if (source.once_in(4)) rig.step();
        if (i % 64 == 63) {
            rig.disk->hold = false;
            rig.settle();
            REQUIRE(rig.device->tasks_in_flight() == 0);
            for (const Command& each : rig.commands) {
                REQUIRE(each.done);
                REQUIRE(each.completions <= 1);
                if (each.task.cdb[0] == 0x83 && each.good()) ++copied[each.task.cdb[1] & 0x1F];
                REQUIRE(each.task.data_in_length <= each.buffer.size());
            }
            rig.commands.clear();
            for (const MemoryDisk::Seen& seen : rig.disk->submitted) {
                REQUIRE(seen.offset_bytes % block_bytes == 0);
                REQUIRE(seen.length_bytes % block_bytes == 0);
                REQUIRE(seen.offset_bytes + seen.length_bytes <= kBytes);
                REQUIRE((!cdrom || seen.operation == disk::Operation::read));
            }
            rig.disk->submitted.clear();
        }
    }
    for (const unsigned action : {0x00u, 0x10u, 0x11u})
        CHECK((cdrom ? copied[action] == 0 : copied[action] > 20));
}
