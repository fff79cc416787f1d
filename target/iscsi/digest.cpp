#include "target/iscsi/digest.hpp"

#include <isa-l/crc.h>

#include <algorithm>

namespace goldlink::iscsi {

Crc32c& Crc32c::add(Bytes bytes) {
    constexpr std::size_t kMaxStep = 1U << 30;  // the library counts in int
    while (!bytes.empty()) {
        const std::size_t step = std::min(bytes.size(), kMaxStep);
        // The library's signature lacks the const; it only reads.
        state_ =
            crc32_iscsi(const_cast<unsigned char*>(bytes.data()), static_cast<int>(step), state_);
        bytes = bytes.subspan(step);
    }
    return *this;
}

}  // namespace goldlink::iscsi
