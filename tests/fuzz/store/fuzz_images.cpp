// Headers of disk image files, ours to read ahead of qemu-img: what they say must be within bounds,
// and no name they give may lead anywhere but beside the file.
#include <sys/mman.h>
#include <unistd.h>

#include "common/check.hpp"
#include "common/file.hpp"
#include "common/manifest.hpp"
#include "common/vmdk_descriptor.hpp"
#include "target/store/image_format.hpp"

using namespace goldlink;
using namespace goldlink::store;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const FileDescriptor file(::memfd_create("image", MFD_CLOEXEC));
    CHECK(::ftruncate(file.get(), 0) == 0, "no room for a file in memory");
    CHECK(::pwrite(file.get(), data, size, 0) == static_cast<ssize_t>(size), "a short write");
    (void)detect_compression(file.get(), "disk.img");
    (void)detect_archive(file.get(), "disk.img");
    for (const char* format : {"", "vhd", "iso"}) {
        const auto kind = detect_format(file.get(), "disk.img", format);
        if (!kind) continue;
        for (const VmdkExtent& extent : kind->extents)
            CHECK(extent.file.empty() ? extent.type == "ZERO"
                                      : extent.file.front() != '.' &&
                                            extent.file.find_first_of("/\\:") == std::string::npos,
                  "an extent that is no plain name");
        CHECK(kind->disk_bytes <= kMaxDiskBytes, "a disk larger than any");
        if (!kind->vhd_difference) continue;
        const VhdDifference& difference = *kind->vhd_difference;
        CHECK(difference.table_offset_bytes + std::uint64_t{4} * difference.table_entries <= size,
              "a table past the end");
        CHECK(kind->disk_bytes <= std::uint64_t{difference.table_entries} * difference.block_bytes,
              "a disk larger than its table");
    }
    return 0;
}
