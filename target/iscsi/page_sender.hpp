// PageSender: sends what a disk lends without copying it: the socket gets references to its pages
// (vmsplice into a pipe, splice from there). Headers lie beside them in pages that are written
// once: when they are used up they are given up, not written again, as sockets may still refer to
// them.
//
// A peer on this machine reads from these very pages. That is safe while the disk is open, as lent
// memory does not change; afterwards SocketConnection resets what has not left. One of each
// reactor; its thread only.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "common/file.hpp"
#include "target/iscsi/output.hpp"

namespace goldlink::iscsi {

class PageSender {
  public:
    static constexpr std::size_t kHeaderPagesBytes = 256 * 1024;
    static constexpr int kPipeBytes = 1024 * 1024;  // of pages, or 256 pieces

    PageSender();
    ~PageSender();
    PageSender(const PageSender&) = delete;
    PageSender& operator=(const PageSender&) = delete;

    // False: the system refuses a pipe or memory, so that all is to be copied.
    bool available() const { return header_pages_ != nullptr; }

    // Sends as much as the (non-blocking) socket takes of the large lent PDUs that the queue begins
    // with, and leaves the queue as it is. The bytes sent, or -1 with errno as of sendmsg; SIGPIPE
    // must be ignored. `vectors`: room to work in.
    ssize_t send(int socket, const OutputQueue& queue, std::span<iovec> vectors);

  private:
    void renew();
    const std::uint8_t* keep(const std::uint8_t* header, std::size_t bytes);
    void discard(std::size_t bytes);

    FileDescriptor pipe_out_, pipe_in_, nowhere_;
    std::uint8_t* header_pages_ = nullptr;
    std::size_t used_ = 0;
};

}  // namespace goldlink::iscsi
