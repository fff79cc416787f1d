#include <array>
#include <catch2/catch.hpp>

#include "common/bytes.hpp"

using namespace goldlink;

TEST_CASE("big-endian fields survive a store and a load") {
    std::array<std::uint8_t, 8> b{};
    store_be16(b.data(), 0x1234);
    CHECK(b[0] == 0x12);
    CHECK(load_be16(b.data()) == 0x1234);
    store_be24(b.data(), 0x123456);
    CHECK(load_be24(b.data()) == 0x123456);
    store_be32(b.data(), 0x12345678);
    CHECK(b[0] == 0x12);
    CHECK(load_be32(b.data()) == 0x12345678);
    store_be64(b.data(), 0x123456789abcdef0);
    CHECK(b[7] == 0xf0);
    CHECK(load_be64(b.data()) == 0x123456789abcdef0);
}

TEST_CASE("a reader past its end gives zeroes and stays bad") {
    const std::array<std::uint8_t, 3> b{1, 2, 3};
    ByteReader reader(b);
    CHECK(reader.be16() == 0x0102);
    CHECK(reader.be16() == 0);
    CHECK_FALSE(reader.ok());
    CHECK(reader.u8() == 0);
    CHECK(reader.bytes(1).empty());
    CHECK(reader.empty());
}
