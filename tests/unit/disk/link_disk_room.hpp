// Room: a link's disk over a small version, and what it should hold by now. One thread.
#pragma once

#include <algorithm>

#include "disk_fixture.hpp"

namespace goldlink::disk::test {

inline constexpr std::uint64_t kMiB = 1 << 20;

// A base of random and zero chunks that ends within a block.
inline DiskBytes base_bytes() {
    DiskBytes disk = random_bytes(3 * kMiB + 512 * 3, 77);
    std::fill(disk.begin() + kMiB, disk.begin() + 2 * kMiB, std::uint8_t{0});
    return disk;
}

struct Room {
    TemporaryFolder folder;
    TemporaryFolder ram{"/dev/shm"};
    DiskBytes base = base_bytes();
    Loop loop;
    LinkDiskOptions options;

    explicit Room(Policy policy, bool with_ram = false) {
        options.version = std::make_shared<FileVersion>(folder / "pack", base);
        options.policy = policy;
        options.folder = folder / "overlay";
        options.reserve_bytes = 0;
        if (with_ram) {
            options.ram_folder = ram / "overlay";
            options.ram_budget_bytes = 64 * kBlock;
        }
    }
    static constexpr std::uint64_t kBlock = 4096;
    std::unique_ptr<LinkDisk> open() { return open_ok(loop, options); }
    DiskBytes whole(Disk& disk) { return read_range(loop, disk, 0, base.size()); }
    void write(Disk& disk, std::uint64_t offset, const DiskBytes& data) {
        write_range(loop, disk, offset, data);
        std::copy(data.begin(), data.end(), base.begin() + static_cast<std::ptrdiff_t>(offset));
    }
    void fill(Disk& disk, std::uint64_t from, std::uint64_t to) {  // blocks
        for (std::uint64_t i = from; i < to; ++i) write(disk, i * kBlock, random_bytes(kBlock, i));
    }
};

inline constexpr std::uint64_t kBlock = Room::kBlock;

}  // namespace goldlink::disk::test
