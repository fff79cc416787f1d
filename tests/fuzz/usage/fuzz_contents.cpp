// What a reader of file systems reports, and the start of a partition: whatever they say, what is
// believed adds up and is clean text.
#include "common/check.hpp"
#include "common/clean_text.hpp"
#include "target/usage/messages.hpp"

using namespace goldlink;
using namespace goldlink::usage;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    (void)name_of(detect({data, size}));
    (void)parse_frame_head({data, size});
    WrittenBlocks written;
    (void)parse_order({data, size}, written);
    const Expected expected{{4096, 1ull << 40}, 5};
    const auto report = parse_contents({data, size}, expected);
    if (!report) return 0;
    CHECK(report->partition < 2, "a partition that there is not");
    const Contents& contents = report->contents;
    const std::uint64_t most = expected.written_bytes[report->partition];
    CHECK(contents.file_bytes <= most && contents.metadata_bytes <= most - contents.file_bytes &&
              contents.free_bytes <= most - contents.file_bytes - contents.metadata_bytes,
          "more bytes than were written");
    CHECK(contents.files.size() <= 5, "more files than were wanted");
    std::uint64_t sum = 0;
    for (const FileUse& file : contents.files) {
        sum += file.written_bytes;
        CHECK(file.path.size() <= kMaxPathBytes, "a path that is too long");
        CHECK(clean_text(file.path, kMaxPathBytes, Keep::end) == file.path,
              "a path that is not clean");
    }
    CHECK(sum <= contents.file_bytes, "files larger than all files");
    return 0;
}
