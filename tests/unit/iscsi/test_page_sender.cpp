#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <catch2/catch.hpp>
#include <cerrno>
#include <memory>

#include "target/iscsi/page_sender.hpp"
#include "tests/unit/random_bytes.hpp"

using namespace goldlink;
using namespace goldlink::iscsi;
using goldlink::test::random_bytes;

namespace {

// A TCP connection on loopback: `ours` does not block.
struct SocketPair {
    FileDescriptor ours, theirs;

    explicit SocketPair(int receive_buffer_bytes = 0) {
        const FileDescriptor listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof address;
        auto* const generic = reinterpret_cast<sockaddr*>(&address);
        REQUIRE(::bind(listener.get(), generic, length) == 0);
        REQUIRE(::listen(listener.get(), 1) == 0);
        REQUIRE(::getsockname(listener.get(), generic, &length) == 0);
        theirs = FileDescriptor(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        if (receive_buffer_bytes != 0)
            REQUIRE(::setsockopt(theirs.get(), SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes,
                                 sizeof receive_buffer_bytes) == 0);
        REQUIRE(::connect(theirs.get(), generic, length) == 0);
        ours = FileDescriptor(
            ::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
        REQUIRE(ours);
    }

    // At most `bytes` of what has come; empty when nothing has.
    std::vector<std::uint8_t> receive(std::size_t bytes) const {
        std::vector<std::uint8_t> got(bytes);
        const ssize_t n = ::recv(theirs.get(), got.data(), got.size(), MSG_DONTWAIT);
        got.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
        return got;
    }
};

struct Sending {
    BufferPool buffers;
    OutputPduPool pdus;
    OutputQueue queue{pdus, buffers};
    std::vector<std::uint8_t> expected;

    void push(std::uint32_t tag, Bytes data, bool lent) {
        OutputPdu& pdu = queue.make();
        BhsWriter(pdu.header.data(), Opcode::data_in, 0).itt(tag);
        pdu.data = data.data();
        pdu.data_bytes = static_cast<std::uint32_t>(data.size());
        pdu.lent = lent;
        queue.push(pdu);
        expected.insert(expected.end(), pdu.header.begin(), pdu.header.begin() + kBhsBytes);
        expected.insert(expected.end(), data.begin(), data.end());
        expected.resize(expected.size() + padding(data.size()));
    }

    // What SocketConnection does with a queue; false when the socket takes no more.
    bool send_some(PageSender& pages, int socket) {
        std::array<iovec, 16> vectors{};
        ssize_t sent = 0;
        if (queue.begins_with_large_lent()) {
            sent = pages.send(socket, queue, vectors);
        } else {
            msghdr message{};
            message.msg_iov = vectors.data();
            message.msg_iovlen = queue.gather(vectors.data(), vectors.size(), true);
            sent = ::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        }
        if (sent < 0) {
            REQUIRE(errno == EAGAIN);
            return false;
        }
        REQUIRE(sent > 0);
        queue.sent(static_cast<std::size_t>(sent));
        return true;
    }
};

}  // namespace

TEST_CASE("large lent data arrives between headers and data that is copied") {
    const std::vector<std::uint8_t> disk = random_bytes(600'000, 1);
    const Bytes bytes(disk);
    PageSender pages;
    REQUIRE(pages.available());
    const SocketPair pair;
    Sending sending;
    sending.push(1, bytes.subspan(0, 100), false);
    sending.push(2, bytes.subspan(100, 16384), true);  // large, not at a page's begin
    sending.push(3, bytes.subspan(4096, 262'144), true);
    sending.push(4, bytes.subspan(8192, 16383), true);    // just small
    sending.push(5, bytes.subspan(20'000, 16385), true);  // padded
    sending.push(6, {}, false);
    sending.push(7, bytes.subspan(300'000, 262'141), true);
    std::vector<std::uint8_t> got;
    while (got.size() < sending.expected.size()) {
        if (!sending.queue.empty()) sending.send_some(pages, pair.ours.get());
        const auto more = pair.receive(1 << 20);
        got.insert(got.end(), more.begin(), more.end());
        REQUIRE(got.size() <= sending.expected.size());
    }
    CHECK(sending.queue.empty());
    CHECK((got == sending.expected));
}

TEST_CASE("a peer that reads little at a time gets everything once and in order") {
    const std::vector<std::uint8_t> disk = random_bytes(1 << 20, 2);
    PageSender pages;
    const SocketPair pair(16 * 1024);
    Sending sending;
    for (std::uint32_t i = 0; i < 64; ++i)
        sending.push(i, Bytes(disk).subspan(i * 12'000, 150'001 + i), true);
    std::size_t at = 0, refused = 0;
    while (at < sending.expected.size()) {
        while (!sending.queue.empty())
            if (!sending.send_some(pages, pair.ours.get())) {
                ++refused;
                break;
            }
        const auto got = pair.receive(100'003);
        REQUIRE(at + got.size() <= sending.expected.size());
        REQUIRE(std::equal(got.begin(), got.end(),
                           sending.expected.begin() + static_cast<std::ptrdiff_t>(at)));
        at += got.size();
    }
    CHECK(sending.queue.empty());
    CHECK(refused > 0);
}

TEST_CASE("headers that wait in many sockets outlast the pages they were written to") {
    const std::vector<std::uint8_t> disk = random_bytes(64 * 1024, 3);
    PageSender pages;
    // More headers wait unread than the pages hold.
    constexpr std::size_t kSockets = 96, kPdus = 100;
    static_assert(kSockets * kPdus * kBhsBytes > PageSender::kHeaderPagesBytes);
    std::vector<std::unique_ptr<SocketPair>> pairs;
    std::vector<std::unique_ptr<Sending>> sendings;
    for (std::uint32_t i = 0; i < kSockets; ++i) {
        pairs.push_back(std::make_unique<SocketPair>());
        sendings.push_back(std::make_unique<Sending>());
        for (std::uint32_t j = 0; j < kPdus; ++j)
            sendings[i]->push(i << 16 | j, Bytes(disk).subspan(0, 16384), true);
    }
    bool more = true;
    while (more) {
        more = false;
        for (std::size_t i = 0; i < kSockets; ++i)
            if (!sendings[i]->queue.empty())
                more |= sendings[i]->send_some(pages, pairs[i]->ours.get());
    }
    for (std::size_t i = 0; i < kSockets; ++i) {
        std::vector<std::uint8_t> got;
        while (got.size() < sendings[i]->expected.size()) {
            if (!sendings[i]->queue.empty()) sendings[i]->send_some(pages, pairs[i]->ours.get());
            const auto part = pairs[i]->receive(1 << 20);
            got.insert(got.end(), part.begin(), part.end());
        }
        REQUIRE((got == sendings[i]->expected));
    }
}

TEST_CASE("the data of a file is sent without a copy of it") {
    // Seen by what a peer that has not read yet gets of a page that changed meanwhile.
    const FileDescriptor file(::memfd_create("disk", MFD_CLOEXEC));
    REQUIRE(::ftruncate(file.get(), 65536) == 0);
    void* const mapped = ::mmap(nullptr, 65536, PROT_READ, MAP_SHARED, file.get(), 0);
    REQUIRE(mapped != MAP_FAILED);
    PageSender pages;
    const SocketPair pair;
    Sending sending;
    sending.push(1, Bytes(static_cast<const std::uint8_t*>(mapped), 65536), true);
    while (!sending.queue.empty()) sending.send_some(pages, pair.ours.get());
    const std::vector<std::uint8_t> changed(65536, 0xA5);
    REQUIRE(::pwrite(file.get(), changed.data(), changed.size(), 0) == 65536);
    std::vector<std::uint8_t> got;
    while (got.size() < kBhsBytes + 65536) {
        const auto part = pair.receive(1 << 20);
        got.insert(got.end(), part.begin(), part.end());
    }
    CHECK(std::equal(changed.begin(), changed.end(), got.begin() + kBhsBytes));

    SECTION("but a hole leaves what was sent as it was") {
        Sending second;
        second.push(2, Bytes(static_cast<const std::uint8_t*>(mapped), 65536), true);
        while (!second.queue.empty()) second.send_some(pages, pair.ours.get());
        REQUIRE(::fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 65536) == 0);
        const std::vector<std::uint8_t> others(65536, 0x5A);
        REQUIRE(::pwrite(file.get(), others.data(), others.size(), 0) == 65536);
        got.clear();
        while (got.size() < kBhsBytes + 65536) {
            const auto part = pair.receive(1 << 20);
            got.insert(got.end(), part.begin(), part.end());
        }
        CHECK(std::equal(changed.begin(), changed.end(), got.begin() + kBhsBytes));
    }
    ::munmap(mapped, 65536);
}
