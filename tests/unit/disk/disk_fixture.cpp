#include "disk_fixture.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

namespace goldlink::disk::test {

namespace {

int create_file(const std::filesystem::path& path) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0);
    return fd;
}

}  // namespace

FileVersion::FileVersion(const std::filesystem::path& pack, const DiskBytes& disk,
                         char digest_letter)
    : FileVersion(create_file(pack), disk, digest_letter) {}

FileVersion::FileVersion(int fd, const DiskBytes& disk, char digest_letter)
    : ChunkedVersion(
          fd, disk,
          [fd](std::uint64_t offset, const DiskBytes& chunk) {
              REQUIRE(::pwrite(fd, chunk.data(), chunk.size(), static_cast<off_t>(offset)) ==
                      static_cast<ssize_t>(chunk.size()));
          },
          digest_letter) {}

FileVersion::~FileVersion() { ::close(pack_fd(0)); }

void Loop::run_until(const std::function<bool()>& done) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!done()) {
        REQUIRE(std::chrono::steady_clock::now() < deadline);
        context.restart();
        context.run_one_for(std::chrono::milliseconds(100));
    }
}

namespace {

Outcome finish(Loop& loop, Disk& disk, Request& request) {
    bool done = false;
    request.owner = &done;
    request.complete = [](Request& finished) noexcept {
        *static_cast<bool*>(finished.owner) = true;
    };
    if (disk.submit(request) == Submit::pending) loop.run_until([&done] { return done; });
    return request.outcome;
}

}  // namespace

Outcome perform(Loop& loop, Disk& disk, Operation operation, std::uint64_t offset,
                std::uint64_t length, std::uint8_t* data, bool fua) {
    Request request;
    request.operation = operation;
    request.offset_bytes = offset;
    request.length_bytes = length;
    request.data = data;
    request.fua = fua;
    return finish(loop, disk, request);
}

Outcome write_atomic(Loop& loop, Disk& disk, std::uint64_t offset, DiskBytes data, bool fua) {
    Request request;
    request.operation = Operation::write;
    request.offset_bytes = offset;
    request.length_bytes = data.size();
    request.data = data.data();
    request.fua = fua;
    request.atomic = true;
    return finish(loop, disk, request);
}

DiskBytes read_range(Loop& loop, Disk& disk, std::uint64_t offset, std::uint64_t length) {
    DiskBytes data(length, 0xee);
    REQUIRE(perform(loop, disk, Operation::read, offset, length, data.data()) == Outcome::ok);
    return data;
}

void write_range(Loop& loop, Disk& disk, std::uint64_t offset, DiskBytes data, bool fua) {
    REQUIRE(perform(loop, disk, Operation::write, offset, data.size(), data.data(), fua) ==
            Outcome::ok);
}

std::unique_ptr<LinkDisk> open_ok(Loop& loop, const LinkDiskOptions& options) {
    auto disk = LinkDisk::open(options, *loop.ring);
    if (!disk) FAIL(disk.error().message);
    return std::move(*disk);
}

}  // namespace goldlink::disk::test
