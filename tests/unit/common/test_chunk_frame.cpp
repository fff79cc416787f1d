#include <zstd.h>

#include <catch2/catch.hpp>

#include "common/chunk_frame.hpp"

using namespace goldlink;

TEST_CASE("chunks come out of a frame as they went in") {
    std::vector<std::uint8_t> chunks(kMaxFrameChunks * kFrameChunkBytes);
    std::uint32_t state = 1;
    for (auto& byte : chunks) byte = static_cast<std::uint8_t>((state = state * 1664525 + 7) >> 24);
    const auto frame = pack_chunks(chunks);
    REQUIRE(frame);
    CHECK(frame->size() < kMaxFrameBytes);  // though it does not compress
    const auto again = unpack_chunks(*frame);
    REQUIRE(again);
    CHECK(*again == chunks);
    const std::vector<std::uint8_t> zeros(kFrameChunkBytes);
    CHECK(pack_chunks(zeros)->size() < 100);
}

TEST_CASE("what is no frame of whole chunks is refused") {
    const auto refused = [](std::string_view frame) { return !unpack_chunks(frame); };
    CHECK(refused(""));
    CHECK(refused("hello"));
    const std::vector<std::uint8_t> much((kMaxFrameChunks + 1) * kFrameChunkBytes);
    CHECK(refused(*pack_chunks(much)));
    CHECK(refused(*pack_chunks(Bytes(much).first(kFrameChunkBytes - 1))));
    CHECK(refused(*pack_chunks(Bytes(much).first(0))));
    std::string frame = *pack_chunks(Bytes(much).first(kFrameChunkBytes));
    CHECK_FALSE(refused(frame));
    CHECK(refused(frame.substr(0, frame.size() - 1)));
    frame += "x";
    CHECK(refused(frame));
    // A length in its head that is not its own: a bomb is refused before memory is taken for it.
    std::string bomb(64, '\0');
    const std::vector<std::uint8_t> huge(64 << 20);
    bomb.resize(ZSTD_compressBound(huge.size()));
    bomb.resize(ZSTD_compress(bomb.data(), bomb.size(), huge.data(), huge.size(), 1));
    CHECK(refused(bomb));
}
