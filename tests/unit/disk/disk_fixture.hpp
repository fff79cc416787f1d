// A version in memory files, a reactor's loop and ring, and a disk over them, driven step by step.
#pragma once

#include <boost/asio/io_context.hpp>
#include <catch2/catch.hpp>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "target/disk/link_disk.hpp"
#include "target/reactor/io_ring.hpp"
#include "tests/unit/disk/chunked_version.hpp"
#include "tests/unit/random_bytes.hpp"
#include "tests/unit/temporary_folder.hpp"

namespace goldlink::disk::test {

using goldlink::test::DiskBytes;
using goldlink::test::random_bytes;
using goldlink::test::TemporaryFolder;

// A version whose chunks are in one pack file, all-zero chunks left out.
class FileVersion final : public ChunkedVersion {
  public:
    FileVersion(const std::filesystem::path& pack, const DiskBytes& disk, char digest_letter = 'a');
    ~FileVersion() override;
    const std::uint8_t* resident(store::ChunkLocation location,
                                 std::uint32_t) const noexcept override {
        return resident_slots.contains(location) ? chunk_in_memory(location) : nullptr;
    }

    std::set<store::ChunkLocation> resident_slots;  // which it lends

  private:
    FileVersion(int fd, const DiskBytes& disk, char digest_letter);
};

struct Loop {
    boost::asio::io_context context{1};
    std::unique_ptr<reactor::IoRing> ring = reactor::make_io_ring(context);
    // Runs the loop until `done`, or fails after some seconds.
    void run_until(const std::function<bool()>& done);
};

// Submits and waits.
Outcome perform(Loop& loop, Disk& disk, Operation operation, std::uint64_t offset,
                std::uint64_t length, std::uint8_t* data = nullptr, bool fua = false);
DiskBytes read_range(Loop& loop, Disk& disk, std::uint64_t offset, std::uint64_t length);
void write_range(Loop& loop, Disk& disk, std::uint64_t offset, DiskBytes data, bool fua = false);
Outcome write_atomic(Loop& loop, Disk& disk, std::uint64_t offset, DiskBytes data,
                     bool fua = false);
std::unique_ptr<LinkDisk> open_ok(Loop& loop, const LinkDiskOptions& options);

}  // namespace goldlink::disk::test
