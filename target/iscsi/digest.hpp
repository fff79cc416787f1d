// CRC32C as iSCSI digests it (RFC 7143 13.1): over the bytes and their zero padding, stored least
// significant byte first.
#pragma once

#include <cstdint>

#include "common/bytes.hpp"

namespace goldlink::iscsi {

class Crc32c {
  public:
    Crc32c& add(Bytes bytes);
    std::uint32_t value() const { return ~state_; }

  private:
    std::uint32_t state_ = 0xffffffff;
};

inline std::uint32_t crc32c(Bytes bytes) { return Crc32c().add(bytes).value(); }

}  // namespace goldlink::iscsi
