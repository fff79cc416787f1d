// A disk that a client wrote, of its first chunk and of logical partitions: whatever it says, the
// partitions lie within the disk, in order and none over another.
#include <algorithm>
#include <cstring>

#include "common/check.hpp"
#include "target/store/partitions.hpp"

using namespace goldlink;
using namespace goldlink::store;

static void check(const std::vector<Partition>& found, std::uint64_t disk_bytes) {
    CHECK(found.size() <= kMaxPartitions, "more partitions than there may be");
    std::uint64_t end = 1;
    for (const Partition& each : found) {
        CHECK(each.number > 0, "a partition without a number");
        CHECK(each.offset_bytes >= end, "partitions over each other");
        CHECK(each.length_bytes > 0, "a partition of nothing");
        CHECK(each.length_bytes <= disk_bytes - each.offset_bytes, "past the disk's end");
        end = each.offset_bytes + each.length_bytes;
    }
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    for (const std::uint64_t disk_bytes : {std::uint64_t{1} << 26, ~std::uint64_t{0}}) {
        for (const std::uint32_t block_bytes : {512u, 4096u}) {
            check(find_partitions({data, size}, disk_bytes, block_bytes), disk_bytes);
            // The input again and again, so that chains may be anywhere.
            const auto read = [&](std::uint64_t offset, std::uint8_t* out,
                                  std::uint64_t length) -> Result<> {
                CHECK(offset <= disk_bytes && length <= disk_bytes - offset, "past the disk's end");
                std::memset(out, 0, length);
                for (std::uint64_t done = 0; size > 0 && done < length;) {
                    const std::uint64_t within = (offset + done) % size;
                    const std::uint64_t here = std::min(size - within, length - done);
                    std::memcpy(out + done, data + within, here);
                    done += here;
                }
                return {};
            };
            const auto whole = read_partitions(read, disk_bytes, block_bytes);
            CHECK(whole.has_value(), "a disk that can be read");
            check(*whole, disk_bytes);
        }
    }
    return 0;
}
