// Says when interfaces or their IPv4 addresses changed (rtnetlink(7)); what they are now is to be
// listed anew. The owner's thread only.
#pragma once

#include "common/file.hpp"
#include "common/result.hpp"

namespace goldlink::pxe {

class NetworkWatch {
  public:
    static Result<NetworkWatch> open();

    int descriptor() const { return fd_.get(); }
    // Reads what waits away. It may have been too much for the socket, which is a change as well.
    void drain() const;

  private:
    explicit NetworkWatch(FileDescriptor fd) : fd_(std::move(fd)) {}
    FileDescriptor fd_;
};

}  // namespace goldlink::pxe
