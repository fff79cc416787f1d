// The first chunk of a disk that a client wrote: whatever it says, the partitions lie within the
// disk, in order and none over another.
#include "common/check.hpp"
#include "target/store/partitions.hpp"

using namespace goldlink;
using namespace goldlink::store;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    for (const std::uint64_t disk_bytes : {std::uint64_t{1} << 26, ~std::uint64_t{0}}) {
        for (const std::uint32_t block_bytes : {512u, 4096u}) {
            const auto found = find_partitions({data, size}, disk_bytes, block_bytes);
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
    }
    return 0;
}
