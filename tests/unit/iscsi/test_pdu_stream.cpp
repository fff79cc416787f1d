#include <catch2/catch.hpp>
#include <random>

#include "target/iscsi/digest.hpp"
#include "target/iscsi/stream.hpp"
#include "tests/unit/iscsi/world.hpp"

using namespace goldlink;
using namespace goldlink::iscsi;
using test::ByteVector;

namespace {

struct Sink final : PduSink {
    struct Got {
        ByteVector header, ahs, data;
        bool digest_ok, placed;
    };
    Placement place_data(Bhs bhs) override {
        if (discard) return {.data = nullptr, .discard = true};
        if (!place) return {};
        room.assign(bhs.data_length(), 0);
        return {.data = room.data(), .discard = false};
    }
    bool receive(const Pdu& pdu) override {
        const auto* h = pdu.bhs.bytes();
        got.push_back({{h, h + kBhsBytes},
                       {pdu.ahs.begin(), pdu.ahs.end()},
                       {pdu.data.begin(), pdu.data.end()},
                       pdu.data_digest_ok,
                       pdu.data_placed});
        return got.size() % stop_after != 0;
    }
    void framing_error(FramingError error, Bhs) override { errors.push_back(error); }

    bool place = false, discard = false;
    std::size_t stop_after = 1000000;
    ByteVector room;
    std::vector<Got> got;
    std::vector<FramingError> errors;
};

ByteVector make_pdu(std::size_t ahs_words, std::size_t data_bytes, bool header_digest,
                    bool data_digest, std::uint8_t seed) {
    ByteVector bytes = test::pattern(kBhsBytes + ahs_words * 4, seed);
    bytes[4] = static_cast<std::uint8_t>(ahs_words);
    store_be24(bytes.data() + 5, static_cast<std::uint32_t>(data_bytes));
    const auto digest = [&](const ByteVector& of) {
        std::array<std::uint8_t, 4> value{};
        store_le32(value.data(), crc32c(of));
        bytes.insert(bytes.end(), value.begin(), value.end());
    };
    if (header_digest) digest(ByteVector(bytes));
    ByteVector data = test::pattern(data_bytes, static_cast<std::uint8_t>(seed + 1));
    data.resize(padded(data_bytes));
    bytes.insert(bytes.end(), data.begin(), data.end());
    if (data_digest && data_bytes > 0) digest(data);
    return bytes;
}

}  // namespace

TEST_CASE("CRC32C as in RFC 7143 appendix A.4") {
    CHECK(crc32c(ByteVector(32, 0)) == 0x8a9136aa);
    CHECK(crc32c(ByteVector(32, 0xff)) == 0x62a8ab43);
    ByteVector rising(32);
    for (std::size_t i = 0; i < 32; ++i) rising[i] = static_cast<std::uint8_t>(i);
    CHECK(crc32c(rising) == 0x46dd794e);
    CHECK(Crc32c().add(Bytes(rising).first(5)).add(Bytes(rising).subspan(5)).value() == 0x46dd794e);
}

TEST_CASE("PDUs come out whole however the bytes are cut") {
    struct Shape {
        std::size_t ahs, data;
    };
    const std::vector<Shape> shapes{{0, 0}, {0, 1}, {2, 0}, {3, 5}, {0, 4096}, {255, 3}, {0, 0}};
    for (const bool header_digest : {false, true})
        for (const bool data_digest : {false, true})
            for (const bool place : {false, true})
                for (const std::size_t piece : {1UL, 7UL, 48UL, 49UL, 1000UL, 1000000UL}) {
                    ByteVector all;
                    for (std::size_t i = 0; i < shapes.size(); ++i) {
                        const auto pdu = make_pdu(shapes[i].ahs, shapes[i].data, header_digest,
                                                  data_digest, static_cast<std::uint8_t>(i * 3));
                        all.insert(all.end(), pdu.begin(), pdu.end());
                    }
                    Sink sink;
                    sink.place = place;
                    PduStream stream(sink);
                    stream.set_digests(header_digest, data_digest);
                    Bytes rest = all;
                    while (!rest.empty()) {
                        Bytes now = rest.first(std::min(piece, rest.size()));
                        rest = rest.subspan(now.size());
                        const MutableBytes direct = stream.direct_space();
                        const std::size_t n = std::min(direct.size(), now.size());
                        if (n > 0) std::memcpy(direct.data(), now.data(), n);
                        stream.direct_received(n);
                        REQUIRE(stream.consume(now.subspan(n)) == now.size() - n);
                    }
                    REQUIRE(sink.errors.empty());
                    REQUIRE(sink.got.size() == shapes.size());
                    for (std::size_t i = 0; i < shapes.size(); ++i) {
                        const auto seed = static_cast<std::uint8_t>(i * 3);
                        CHECK(sink.got[i].ahs.size() == shapes[i].ahs * 4);
                        CHECK(sink.got[i].data ==
                              test::pattern(shapes[i].data, static_cast<std::uint8_t>(seed + 1)));
                        CHECK(sink.got[i].digest_ok);
                    }
                }
}

TEST_CASE("a bad header digest ends the stream, a bad data digest is told") {
    Sink sink;
    PduStream stream(sink);
    stream.set_digests(true, true);
    ByteVector pdu = make_pdu(0, 10, true, true, 1);
    ByteVector bad_data = pdu;
    bad_data[kBhsBytes + 4] ^= 1;
    CHECK(stream.consume(bad_data) == bad_data.size());
    REQUIRE(sink.got.size() == 1);
    CHECK_FALSE(sink.got[0].digest_ok);
    ByteVector bad_padding = pdu;
    bad_padding[kBhsBytes + 4 + 11] ^= 1;
    stream.consume(bad_padding);
    CHECK_FALSE(sink.got.at(1).digest_ok);
    pdu[9] ^= 1;
    stream.consume(pdu);
    REQUIRE(sink.errors.size() == 1);
    CHECK(sink.errors[0] == FramingError::header_digest);
    CHECK(stream.failed());
    CHECK(stream.consume(pdu) == 0);
}

TEST_CASE("a data segment over the declared length ends the stream before a byte is kept") {
    Sink sink;
    PduStream stream(sink);
    stream.set_max_data_segment(512);
    CHECK(stream.consume(make_pdu(0, 512, false, false, 1)) == kBhsBytes + 512);
    stream.consume(make_pdu(0, 513, false, false, 1));
    CHECK(sink.got.size() == 1);
    REQUIRE(sink.errors.size() == 1);
    CHECK(sink.errors[0] == FramingError::data_too_long);
}

TEST_CASE("the stream pauses where the receiver says so and goes on there") {
    Sink sink;
    sink.stop_after = 2;
    PduStream stream(sink);
    ByteVector all;
    for (int i = 0; i < 5; ++i) {
        const auto pdu = make_pdu(0, 8, false, false, static_cast<std::uint8_t>(i));
        all.insert(all.end(), pdu.begin(), pdu.end());
    }
    std::size_t used = stream.consume(all);
    CHECK(used == 2 * 56);
    used += stream.consume(Bytes(all).subspan(used));
    CHECK(used == 4 * 56);
    used += stream.consume(Bytes(all).subspan(used));
    CHECK(used == all.size());
    CHECK(sink.got.size() == 5);
}

TEST_CASE("discarded data is skipped") {
    Sink sink;
    sink.discard = true;
    PduStream stream(sink);
    const auto pdu = make_pdu(0, 4001, false, false, 1);
    for (const std::uint8_t byte : pdu) stream.consume({&byte, 1});
    REQUIRE(sink.got.size() == 1);
    CHECK(sink.got[0].data.empty());
}
