// What the tests of third-party copies share: a device of several units whose clock and turns the
// test moves.
#pragma once

#include <algorithm>

#include "tests/unit/scsi/scsi_rig.hpp"

namespace goldlink::scsi::testing {

// Three units, unless told otherwise: 512 and 512 bytes a block, and 4096.
struct CopyRig : Rig {
    static constexpr std::uint64_t kBytes = 4u << 20;
    static constexpr std::uint32_t kBlocks = kBytes / 512;

    CopyRig()
        : CopyRig({{.size_bytes = kBytes},
                   {.size_bytes = kBytes},
                   {.size_bytes = kBytes, .logical_block_bytes = 4096}}) {}
    explicit CopyRig(const std::vector<disk::Geometry>& geometries) : Rig(geometries, seams()) {}
    ~CopyRig() { settle(); }

    std::uint64_t now_ms = 1'000'000;

    // Lets disks and turns go on until nothing happens any more.
    void settle() {
        for (bool moved = true; moved;) {
            moved = step();
            for (const auto& each : disks) {
                moved = moved || !each->held.empty();
                each->finish_all();
            }
        }
    }
    void hold(bool later) {
        for (const auto& each : disks) each->hold = later;
    }
    // Runs a command to its end however the disks answer.
    Command& finish(Nexus* nexus, const Cdb& cdb, std::vector<std::uint8_t> data_out = {},
                    std::uint64_t lun = 0) {
        Command& command = run(nexus, cdb, std::move(data_out), lun << 48);
        settle();
        REQUIRE(command.done);
        return command;
    }
    Command& finish(const Cdb& cdb, std::vector<std::uint8_t> data_out = {},
                    std::uint64_t lun = 0) {
        return finish(first, cdb, std::move(data_out), lun);
    }
    // Fills a unit's blocks with a pattern that differs everywhere.
    void fill(std::size_t unit, std::uint64_t from, std::uint64_t length, std::uint32_t seed) {
        std::uint32_t state = seed;
        for (std::uint64_t i = 0; i < length; ++i) {
            state = state * 1664525 + 1013904223;
            disks[unit]->data()[from + i] = static_cast<std::uint8_t>(state >> 24);
        }
    }
    std::vector<std::uint8_t> content(std::size_t unit, std::uint64_t from, std::uint64_t length) {
        const std::uint8_t* at = disks[unit]->data() + from;
        return {at, at + length};
    }

  private:
    DeviceSeams seams() {
        DeviceSeams seams;
        seams.now_ms = [this] { return now_ms; };
        seams.fill_random = [state = 1u](MutableBytes out) mutable {
            for (std::uint8_t& byte : out) byte = static_cast<std::uint8_t>(state = state * 5 + 77);
        };
        return seams;
    }
};

inline Cdb copy_out(unsigned action, std::uint32_t list_identifier, std::size_t length) {
    Cdb out = cdb(0x83).u8(1, action).be32(10, static_cast<std::uint32_t>(length));
    return action == 0 ? out : out.be32(6, list_identifier);
}
inline Cdb copy_in(unsigned action, std::uint32_t list_identifier, std::uint32_t room = 4096) {
    Cdb in = cdb(0x84).u8(1, action).be32(10, room);
    return action < 5 ? in.u8(2, list_identifier) : in.be32(2, list_identifier);
}

}  // namespace goldlink::scsi::testing
