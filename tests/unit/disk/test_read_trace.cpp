#include <catch2/catch.hpp>

#include "target/disk/read_trace.hpp"

using goldlink::disk::ReadTrace;

namespace {

constexpr std::uint64_t kChunk = goldlink::store::kChunkBytes;

}  // namespace

TEST_CASE("a trace has each chunk once, in the order of the first reads") {
    ReadTrace trace(10 * kChunk);
    trace.note(7 * kChunk + 512, 512);
    trace.note(2 * kChunk - 512, 1024);  // over an edge
    trace.note(0, 3 * kChunk);
    trace.note(7 * kChunk, kChunk);
    CHECK(trace.chunks() == std::vector<std::uint32_t>{7, 1, 2, 0});
}

TEST_CASE("a trace reaches into the last chunk of a disk that ends within it") {
    ReadTrace trace(kChunk + 512);
    trace.note(kChunk, 512);
    CHECK(trace.chunks() == std::vector<std::uint32_t>{1});
}

TEST_CASE("a trace ends at its bound") {
    ReadTrace trace((ReadTrace::kMaxChunks + 10) * kChunk);
    trace.note(0, (ReadTrace::kMaxChunks + 10) * kChunk);
    CHECK(trace.chunks().size() == ReadTrace::kMaxChunks);
    CHECK(trace.chunks().back() == ReadTrace::kMaxChunks - 1);
}
