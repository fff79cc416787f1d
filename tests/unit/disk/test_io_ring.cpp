#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "disk_fixture.hpp"

using namespace goldlink::disk::test;
using goldlink::reactor::IoOperation;
using goldlink::reactor::IoRing;

namespace {

struct Operation {
    IoOperation operation;
    iovec vector{};
    DiskBytes buffer;
    unsigned* done = nullptr;

    void prepare(IoOperation::Kind kind, int fd, std::uint64_t offset, std::size_t length,
                 unsigned& count) {
        buffer.resize(length);
        vector = {buffer.data(), buffer.size()};
        done = &count;
        operation.kind = kind;
        operation.fd = fd;
        operation.offset_bytes = offset;
        operation.vectors = &vector;
        operation.vector_count = 1;
        operation.owner = this;
        operation.complete = [](IoOperation& finished) noexcept {
            ++*static_cast<Operation*>(finished.owner)->done;
        };
    }
};

// Runs `check` with each ring this machine has.
void with_each_ring(const std::function<void(Loop&)>& check) {
    {
        Loop loop;
        check(loop);
    }
    REQUIRE(::setenv("GOLDLINK_IO", "threads", 1) == 0);
    {
        Loop loop;
        CHECK(std::string(loop.ring->kind()) == "threads");
        check(loop);
    }
    REQUIRE(::unsetenv("GOLDLINK_IO") == 0);
}

}  // namespace

TEST_CASE("rings write, sync and read back, never inline") {
    with_each_ring([](Loop& loop) {
        TemporaryFolder folder;
        const int fd = ::open((folder / "f").c_str(), O_RDWR | O_CREAT, 0600);
        REQUIRE(fd >= 0);
        unsigned done = 0;
        Operation write, sync, read;
        write.prepare(IoOperation::Kind::write, fd, 8192, 5000, done);
        write.buffer = random_bytes(5000, 1);
        write.vector.iov_base = write.buffer.data();
        loop.ring->submit(write.operation);
        CHECK(done == 0);
        CHECK(loop.ring->in_flight() == 1);
        loop.run_until([&] { return done == 1; });
        CHECK(write.operation.result == 5000);
        sync.prepare(IoOperation::Kind::data_sync, fd, 0, 0, done);
        loop.ring->submit(sync.operation);
        loop.run_until([&] { return done == 2; });
        CHECK(sync.operation.result == 0);
        read.prepare(IoOperation::Kind::read, fd, 8192, 9000, done);
        loop.ring->submit(read.operation);
        loop.run_until([&] { return done == 3; });
        CHECK(read.operation.result == 5000);  // short: the file ends there
        read.buffer.resize(5000);
        CHECK(read.buffer == write.buffer);
        CHECK(loop.ring->in_flight() == 0);
        ::close(fd);
    });
}

TEST_CASE("rings report errors as -errno") {
    with_each_ring([](Loop& loop) {
        unsigned done = 0;
        Operation read;
        read.prepare(IoOperation::Kind::read, 987654, 0, 512, done);
        loop.ring->submit(read.operation);
        loop.run_until([&] { return done == 1; });
        CHECK(read.operation.result == -EBADF);
    });
}

TEST_CASE("more operations than a ring holds wait their turn") {
    with_each_ring([](Loop& loop) {
        TemporaryFolder folder;
        const auto content = random_bytes(1000 * 512, 2);
        const int fd = ::open((folder / "f").c_str(), O_RDWR | O_CREAT, 0600);
        REQUIRE(::pwrite(fd, content.data(), content.size(), 0) ==
                static_cast<ssize_t>(content.size()));
        unsigned done = 0;
        std::vector<Operation> reads(1000);
        for (std::size_t i = 0; i < reads.size(); ++i) {
            reads[i].prepare(IoOperation::Kind::read, fd, i * 512, 512, done);
            loop.ring->submit(reads[i].operation);
        }
        CHECK(loop.ring->in_flight() == 1000);
        loop.run_until([&] { return done == 1000; });
        for (std::size_t i = 0; i < reads.size(); ++i) {
            REQUIRE(reads[i].operation.result == 512);
            REQUIRE(std::equal(reads[i].buffer.begin(), reads[i].buffer.end(),
                               content.begin() + static_cast<std::ptrdiff_t>(i * 512)));
        }
        ::close(fd);
    });
}

TEST_CASE("a ring destroyed with operations in flight calls nobody") {
    with_each_ring([](Loop& loop) {
        TemporaryFolder folder;
        const int fd = ::open((folder / "f").c_str(), O_RDWR | O_CREAT, 0600);
        unsigned done = 0;
        std::vector<Operation> writes(400);
        for (std::size_t i = 0; i < writes.size(); ++i) {
            writes[i].prepare(IoOperation::Kind::write, fd, i * 4096, 4096, done);
            loop.ring->submit(writes[i].operation);
        }
        loop.ring.reset();
        loop.context.restart();
        loop.context.poll();
        CHECK(done == 0);
        ::close(fd);
    });
}
