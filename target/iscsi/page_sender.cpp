#include "target/iscsi/page_sender.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "common/check.hpp"

namespace goldlink::iscsi {

PageSender::PageSender() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) return;
    pipe_out_ = FileDescriptor(ends[0]);
    pipe_in_ = FileDescriptor(ends[1]);
    // A pipe that stays small only means more calls.
    static_cast<void>(::fcntl(pipe_in_.get(), F_SETPIPE_SZ, kPipeBytes));
    nowhere_ = FileDescriptor(::open("/dev/null", O_WRONLY | O_CLOEXEC));
    if (!nowhere_) return;
    void* pages = ::mmap(nullptr, kHeaderPagesBytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages != MAP_FAILED) header_pages_ = static_cast<std::uint8_t*>(pages);
}

PageSender::~PageSender() {
    if (header_pages_ != nullptr) ::munmap(header_pages_, kHeaderPagesBytes);
}

// What sockets refer to stays theirs; here the pages are new.
void PageSender::renew() {
    CHECK(::madvise(header_pages_, kHeaderPagesBytes, MADV_DONTNEED) == 0,
          "the pages of headers cannot be given up");
    used_ = 0;
}

const std::uint8_t* PageSender::keep(const std::uint8_t* header, std::size_t bytes) {
    CHECK(used_ + bytes <= kHeaderPagesBytes, "more headers than a batch has");
    std::uint8_t* const at = header_pages_ + used_;
    std::memcpy(at, header, bytes);
    used_ += bytes;
    return at;
}

ssize_t PageSender::send(int socket, const OutputQueue& queue, std::span<iovec> vectors) {
    // Headers of one batch are never given up before they are in the pipe.
    if (used_ + vectors.size() * OutputQueue::kMaxHeaderBytes > kHeaderPagesBytes) renew();
    const std::size_t count = queue.gather_large_lent(
        vectors.data(), vectors.size(),
        [this](const std::uint8_t* header, std::size_t bytes) { return keep(header, bytes); });
    const ssize_t piped = ::vmsplice(pipe_in_.get(), vectors.data(), count, SPLICE_F_NONBLOCK);
    if (piped < 0) return -1;
    const auto all = static_cast<std::size_t>(piped);
    const unsigned flags =
        SPLICE_F_NONBLOCK | (all < queue.queued_bytes() ? unsigned{SPLICE_F_MORE} : 0);
    std::size_t sent = 0;
    while (sent < all) {
        const ssize_t taken =
            ::splice(pipe_out_.get(), nullptr, socket, nullptr, all - sent, flags);
        if (taken > 0) {
            sent += static_cast<std::size_t>(taken);
        } else if (taken == 0 || errno != EINTR) {
            const int error = taken == 0 ? EIO : errno;
            discard(all - sent);
            errno = error;
            break;
        }
    }
    return sent > 0 ? static_cast<ssize_t>(sent) : -1;
}

// What the socket did not take: the queue has it still.
void PageSender::discard(std::size_t bytes) {
    while (bytes > 0) {
        const ssize_t gone =
            ::splice(pipe_out_.get(), nullptr, nowhere_.get(), nullptr, bytes, SPLICE_F_NONBLOCK);
        if (gone < 0 && errno == EINTR) continue;
        CHECK(gone > 0, "a pipe does not give back what was put in");
        bytes -= static_cast<std::size_t>(gone);
    }
}

}  // namespace goldlink::iscsi
