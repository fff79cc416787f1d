// What the reader and the target say to each other, and what the target does not believe.
#include <catch2/catch.hpp>

#include "target/usage/messages.hpp"

using namespace goldlink;
using namespace goldlink::usage;

namespace {

const Expected kExpected{{4096, 100 * 4096}, 3};

Contents contents_of_two_files() {
    Contents contents;
    contents.file_system = FileSystem::ntfs;
    contents.gap = Gap::none;
    contents.file_bytes = 50 * 4096;
    contents.metadata_bytes = 20 * 4096;
    contents.free_bytes = 30 * 4096;
    contents.file_count = 7;
    contents.files = {{"/pagefile.sys", 30 * 4096, 1 << 30}, {"/Users/a.txt", 4096, 17}};
    return contents;
}

Result<ReportedContents> reported(std::uint32_t partition, const Contents& contents) {
    const std::string frame = encode_contents(partition, contents);
    return parse_contents(as_bytes(frame).subspan(kFrameHeadBytes), kExpected);
}

}  // namespace

TEST_CASE("an order arrives as it was given") {
    Order order;
    order.disk_bytes = 1ull << 40;
    order.sector_bytes = 4096;
    order.files = 20;
    order.budget_ms = 48'000;
    order.partitions = {{1 << 20, 5 << 20}, {1ull << 39, 1ull << 38}};
    WrittenBlocks written;
    written.add(7, 3);
    written.add(0x0fff'fffe, 2);
    const std::string bytes = encode_order(order, written);
    const auto rest = order_rest_bytes(as_bytes(bytes).first(kOrderHeadBytes));
    REQUIRE(rest);
    CHECK(*rest == bytes.size() - kOrderHeadBytes);
    WrittenBlocks arrived;
    const auto parsed = parse_order(as_bytes(bytes), arrived);
    REQUIRE(parsed);
    CHECK(parsed->disk_bytes == order.disk_bytes);
    CHECK(parsed->budget_ms == 48'000);
    REQUIRE(parsed->partitions.size() == 2);
    CHECK(parsed->partitions[1].length_bytes == 1ull << 38);
    CHECK(arrived.runs() == written.runs());
    WrittenBlocks none;
    CHECK_FALSE(parse_order(as_bytes(bytes).first(bytes.size() - 1), none));
}

TEST_CASE("a report arrives as it was given") {
    const auto report = reported(1, contents_of_two_files());
    REQUIRE(report);
    CHECK(report->partition == 1);
    const Contents& contents = report->contents;
    CHECK(contents.file_system == FileSystem::ntfs);
    CHECK(contents.gap == Gap::none);
    CHECK(contents.metadata_bytes == 20 * 4096);
    CHECK(contents.file_count == 7);
    REQUIRE(contents.files.size() == 2);
    CHECK(contents.files[0].path == "/pagefile.sys");
    CHECK(contents.files[1].size_bytes == 17);
}

TEST_CASE("a report that cannot be true is refused") {
    Contents contents = contents_of_two_files();
    std::uint32_t partition = 1;
    SECTION("of a partition that there is not") { partition = 2; }
    SECTION("of more bytes than were written") { partition = 0; }
    SECTION("of bytes that add up to more than were written") { contents.free_bytes += 1; }
    SECTION("of bytes that overflow") { contents.metadata_bytes = ~std::uint64_t{0}; }
    SECTION("with more files than were wanted") { contents.files.resize(4, {"/x", 4096, 4096}); }
    SECTION("with more files than it counted") { contents.file_count = 1; }
    SECTION("of more files than there are bytes") { contents.file_count = ~std::uint64_t{0}; }
    SECTION("with a file larger than all files") {
        contents.files[0].written_bytes = contents.file_bytes + 1;
    }
    SECTION("with files that are larger together") { contents.files[1].written_bytes = 30 * 4096; }
    SECTION("with a file of no written bytes") { contents.files[1].written_bytes = 0; }
    SECTION("out of order") { std::swap(contents.files[0], contents.files[1]); }
    SECTION("with a negative size") { contents.files[0].size_bytes = ~std::uint64_t{0}; }
    SECTION("with an endless path") { contents.files[0].path.assign(kMaxPathBytes + 1, 'x'); }
    CHECK_FALSE(reported(partition, contents));
}

TEST_CASE("a report of another length, or of things that there are not, is refused") {
    const std::string frame = encode_contents(1, contents_of_two_files());
    const Bytes payload = as_bytes(frame).subspan(kFrameHeadBytes);
    for (std::size_t length = 0; length < payload.size(); ++length)
        REQUIRE_FALSE(parse_contents(payload.first(length), kExpected));
    CHECK_FALSE(parse_contents(as_bytes(frame.substr(kFrameHeadBytes) + "x"), kExpected));
    std::string wrong = frame.substr(kFrameHeadBytes);
    const std::size_t at = GENERATE(4u, 5u);  // file system, gap
    wrong[at] = '\x7f';
    CHECK_FALSE(parse_contents(as_bytes(wrong), kExpected));
}

TEST_CASE("a frame of another kind, or too long, is refused") {
    const auto head = [](std::uint32_t kind, std::uint32_t length) {
        std::uint8_t bytes[kFrameHeadBytes];
        store_be32(bytes, kind);
        store_be32(bytes + 4, length);
        return parse_frame_head(bytes).has_value();
    };
    CHECK(head(1, 4));
    CHECK(head(3, 0));
    CHECK(head(2, 1000));
    CHECK_FALSE(head(1, 5));
    CHECK_FALSE(head(3, 1));
    CHECK_FALSE(head(2, 3));
    CHECK_FALSE(head(2, 0xffffffff));
    CHECK_FALSE(head(0, 0));
    CHECK_FALSE(head(4, 0));
}
