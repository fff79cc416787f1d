// Chunks go compressed or as they are, whichever is faster on this line.
#include <catch2/catch.hpp>
#include <numeric>
#include <vector>

#include "common/chunk_frame.hpp"
#include "manager/cli/line_choice.hpp"

using namespace goldlink;
using namespace goldlink::cli;
using std::chrono::microseconds;

namespace {

// Of a thousand requests, where a chunk takes so long each way: how many chunks went each way.
struct Sent {
    std::size_t packed = 0, plain = 0, largest = 0;
};
Sent send(LineChoice& line, microseconds packed, microseconds plain) {
    Sent sent;
    for (int i = 0; i < 1000; ++i) {
        const bool as_is = line.way() == LineChoice::plain;
        const std::size_t chunks = line.most_chunks();
        (as_is ? sent.plain : sent.packed) += chunks;
        sent.largest = std::max(sent.largest, chunks);
        line.took(chunks, static_cast<int>(chunks) * (as_is ? plain : packed));
    }
    return sent;
}

}  // namespace

TEST_CASE("on a fast line nearly all goes as it is, in large requests") {
    LineChoice line;
    const Sent sent = send(line, microseconds(600), microseconds(100));
    CHECK(sent.largest == kMaxPlainChunks);
    CHECK(sent.plain > 100 * sent.packed);
    CHECK(sent.packed > 0);
}

TEST_CASE("on a slow line nearly all goes compressed, in small requests") {
    LineChoice line;
    const Sent sent = send(line, microseconds(900), microseconds(5000));
    CHECK(sent.largest == kMaxFrameChunks);
    CHECK(sent.packed > 20 * sent.plain);
    CHECK(sent.plain > 0);
}

TEST_CASE("a line that becomes another is found out") {
    LineChoice line;
    send(line, microseconds(600), microseconds(100));
    const Sent sent = send(line, microseconds(900), microseconds(5000));
    CHECK(sent.packed > sent.plain);
}

TEST_CASE("after a connection broke it goes on in small requests, and is tried again later") {
    LineChoice line;
    send(line, microseconds(600), microseconds(100));
    while (line.way() != LineChoice::plain) line.took(1, microseconds(600));
    line.failed(true);
    for (int i = 0; i < 20; ++i) {
        CHECK(line.way() == LineChoice::packed);
        CHECK(line.most_chunks() == kMaxFrameChunks);
        line.took(kMaxFrameChunks, microseconds(9000));
    }
    CHECK(send(line, microseconds(600), microseconds(100)).plain > 1000);
}

TEST_CASE("all items are gone through, and what fails plain is done packed") {
    std::vector<int> items(1000);
    std::iota(items.begin(), items.end(), 0);
    for (const ErrorKind why : {ErrorKind::unavailable, ErrorKind::corrupt}) {
        LineChoice line;
        std::vector<int> done;
        const auto packed = [&](std::span<const int> some) -> Result<> {
            CHECK(some.size() <= kMaxFrameChunks);
            done.insert(done.end(), some.begin(), some.end());
            return {};
        };
        // The second fails after some of it was done.
        const auto plain = [&, requests = 0](std::span<const int> some,
                                             std::size_t& count) mutable -> Result<> {
            count = ++requests == 2 ? 3 : some.size();
            done.insert(done.end(), some.begin(), some.begin() + static_cast<long>(count));
            if (requests == 2) return failure(why, "it broke");
            return {};
        };
        REQUIRE(line.each(std::span<const int>(items), packed, plain));
        CHECK((done == items));
    }
    LineChoice line;
    const auto refused = line.each(
        std::span<const int>(items),
        [](std::span<const int>) -> Result<> { return failure(ErrorKind::exhausted, "full"); },
        [](std::span<const int>, std::size_t&) -> Result<> { return {}; });
    CHECK(refused.error().kind == ErrorKind::exhausted);
}

TEST_CASE("a side that takes no chunks as they are is not asked again") {
    LineChoice line;
    line.took(1, microseconds(500));
    CHECK(line.way() == LineChoice::plain);
    line.failed(false);
    CHECK(send(line, microseconds(600), microseconds(100)).plain == 0);
}
