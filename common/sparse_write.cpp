#include "common/sparse_write.hpp"

#include <algorithm>
#include <cstring>

#include "common/file.hpp"

namespace goldlink {
namespace {

bool is_zero(Bytes block) {
    return block.front() == 0 && std::memcmp(block.data(), block.data() + 1, block.size() - 1) == 0;
}

}  // namespace

Result<> write_with_holes(int fd, Bytes bytes, std::uint64_t offset, std::size_t hole_bytes,
                          const std::string& name) {
    while (!bytes.empty()) {
        std::size_t data = 0, zeros = 0;
        while (data + zeros < bytes.size() && zeros == 0) {
            const std::size_t block =
                std::min(bytes.size() - data,
                         hole_bytes - static_cast<std::size_t>((offset + data) % hole_bytes));
            (is_zero(bytes.subspan(data, block)) ? zeros : data) += block;
        }
        if (data > 0) GOLDLINK_TRY(write_at(fd, bytes.first(data), offset, name));
        offset += data + zeros;
        bytes = bytes.subspan(data + zeros);
    }
    return {};
}

}  // namespace goldlink
