// Moves bytes from one socket to another through a pipe, so that they stay in the kernel
// (splice(2)). Where that is not possible (no descriptors left) they go by way of memory.
// One thread at a time.
#pragma once

#include <vector>

#include "common/http/socket_stream.hpp"

namespace goldlink::http {

inline constexpr std::size_t kRelayStepBytes = 1 << 20;

class Relay {
  public:
    // Waits for bytes of `from` and has `to` take them all. Returns their number, at most
    // min(at_most, kRelayStepBytes); with an error of `from` 0. After an error of `to` some bytes
    // are lost, and so is what the two were saying.
    std::size_t move(SocketStream& from, SocketStream& to, std::uint64_t at_most,
                     boost::system::error_code& from_error, boost::system::error_code& to_error);

  private:
    void open_pipe();
    std::size_t copy(SocketStream& from, SocketStream& to, std::uint64_t at_most,
                     boost::system::error_code& from_error, boost::system::error_code& to_error);

    bool tried_ = false;
    FileDescriptor read_end_, write_end_;
    std::vector<char> buffer_;  // without a pipe
};

}  // namespace goldlink::http
