#include <catch2/catch.hpp>

#include "target/iscsi/output.hpp"

using namespace goldlink;
using namespace goldlink::iscsi;

TEST_CASE("buffers are bounded, reused and given back") {
    BufferPool pool(64 * 1024, 16 * 1024);
    Buffer a = pool.take(1);
    CHECK(a.capacity_bytes == 4096);
    CHECK(reinterpret_cast<std::uintptr_t>(a.data) % BufferPool::kAlignmentBytes == 0);
    Buffer b = pool.take(4097);
    CHECK(b.capacity_bytes == 8192);
    CHECK_FALSE(pool.take(60 * 1024));
    const std::uint8_t* where = b.data;
    pool.give(b);
    CHECK(pool.take(8192).data == where);
    pool.give({const_cast<std::uint8_t*>(where), 8192});
    Buffer large = pool.take(32 * 1024);
    pool.give(large);
    CHECK(pool.kept_bytes() == 8192);  // the large one would exceed what is kept
    pool.give(a);
    CHECK(pool.out_bytes() == 0);
    CHECK_FALSE(BufferPool().take(BufferPool::kMaxBufferBytes + 1));
}

TEST_CASE("output is gathered, sent in any pieces and given back") {
    BufferPool buffers;
    OutputPduPool pdus;
    for (const std::size_t piece : {1UL, 50UL, 5000UL}) {
        OutputQueue queue(pdus, buffers);
        queue.set_digests(true, true);
        std::size_t total = 0;
        for (std::size_t i = 0; i < 5; ++i) {
            OutputPdu& pdu = queue.make();
            BhsWriter(pdu.header.data(), Opcode::data_in, 0).itt(static_cast<std::uint32_t>(i));
            pdu.owned = buffers.take(100);
            std::memset(pdu.owned.data, static_cast<int>(i), 100);
            pdu.data = pdu.owned.data;
            pdu.data_bytes = static_cast<std::uint32_t>(17 * i);
            queue.push(pdu);
            total += pdu.total_bytes();
        }
        CHECK(queue.queued_bytes() == total);
        std::vector<std::uint8_t> sent;
        while (!queue.empty()) {
            std::array<iovec, 6> vectors{};
            const std::size_t count = queue.gather(vectors.data(), vectors.size());
            REQUIRE(count > 0);
            std::size_t left = piece;
            for (std::size_t i = 0; i < count && left > 0; ++i) {
                const std::size_t step = std::min(left, vectors[i].iov_len);
                const auto* data = static_cast<const std::uint8_t*>(vectors[i].iov_base);
                sent.insert(sent.end(), data, data + step);
                left -= step;
            }
            queue.sent(piece - left);
        }
        CHECK(sent.size() == total);
        CHECK(queue.queued_bytes() == 0);
        CHECK(queue.queued_pdus() == 0);
        CHECK(buffers.out_bytes() == 0);
        std::size_t at = 0;
        for (std::size_t i = 0; i < 5; ++i) {
            CHECK(load_be32(sent.data() + at + 16) == i);
            at += kBhsBytes + kDigestBytes;
            for (std::size_t j = 0; j < 17 * i; ++j) REQUIRE(sent[at + j] == i);
            at += padded(17 * i) + (i > 0 ? kDigestBytes : 0);
        }
        CHECK(at == sent.size());
    }
}

TEST_CASE("a dropped queue gives its buffers back") {
    BufferPool buffers;
    OutputPduPool pdus;
    {
        OutputQueue queue(pdus, buffers);
        OutputPdu& pdu = queue.make();
        BhsWriter(pdu.header.data(), Opcode::nop_in, 0);
        pdu.owned = buffers.take(10);
        queue.push(pdu);
        CHECK(buffers.out_bytes() > 0);
    }
    CHECK(buffers.out_bytes() == 0);
}
