#include <catch2/catch.hpp>

#include "pxe/tftp_packet.hpp"

using namespace goldlink;
using namespace goldlink::pxe::tftp;

namespace {

std::vector<std::uint8_t> bytes(std::string_view text) { return {text.begin(), text.end()}; }
using std::string_view_literals::operator""sv;

}  // namespace

TEST_CASE("a read request with UEFI's options is understood") {
    const auto message =
        parse(bytes("\0\1snponly.efi\0OCTET\0tsize\0"
                    "0\0BLKSIZE\0"
                    "1468\0windowsize\0"
                    "4\0"sv));
    REQUIRE(message);
    const auto& read = std::get<ReadRequest>(*message);
    CHECK(read.file == "snponly.efi");
    CHECK(read.mode == "octet");
    CHECK(read.options ==
          std::vector<Option>{{"tsize", "0"}, {"blksize", "1468"}, {"windowsize", "4"}});
    const auto padded = parse(bytes("\0\1f\0octet\0\0\0\0"sv));
    REQUIRE(padded);
    CHECK(std::get<ReadRequest>(*padded).options.empty());
}

TEST_CASE("the other packets are understood") {
    CHECK(std::holds_alternative<WriteRequest>(parse(bytes("\0\2f\0octet\0"sv)).value()));
    CHECK(std::get<Ack>(parse(bytes("\0\4\1\2"sv)).value()).block == 0x102);
    const auto error = std::get<PeerError>(parse(bytes("\0\5\0\10User\naborted\0"sv)).value());
    CHECK(error.code == 8);
    CHECK(error.message == "User?aborted");
    CHECK(std::get<PeerError>(parse(bytes("\0\5\0\0"sv)).value()).message.empty());
    const auto raw = bytes("\0\3\0\7abc"sv);
    const auto data = std::get<Data>(parse(raw).value());
    CHECK(data.block == 7);
    CHECK(as_text(data.bytes) == "abc");
}

TEST_CASE("malformed packets are refused") {
    for (const auto text :
         {""sv, "\0"sv, "\0\0"sv, "\0\7"sv, "\1\1f\0octet\0"sv, "\0\1"sv, "\0\1f"sv,
          "\0\1f\0octet"sv, "\0\1f\0octet\0blksize"sv, "\0\1f\0octet\0blksize\0"sv,
          "\0\1f\0octet\0blksize\0"
          "14"sv,
          "\0\4"sv, "\0\4\1"sv, "\0\3\1"sv, "\0\5\0"sv})
        CHECK_FALSE(parse(bytes(text)));
    std::string many("\0\1f\0octet\0", 10);
    for (std::size_t i = 0; i <= kMaxOptions; ++i) many += std::string("a\0b\0", 4);
    CHECK_FALSE(parse(bytes(many)));
    CHECK_FALSE(
        parse(bytes(std::string("\0\1", 2) + std::string(600, 'f') + '\0' + "octet" + '\0')));
}

TEST_CASE("what is sent is as the RFC draws it") {
    CHECK(encode_error(ErrorCode::access, "no") == bytes("\0\5\0\2no\0"sv));
    CHECK(encode_option_ack({{"tsize", "9"}, {"blksize", "512"}}) == bytes("\0\6tsize\0"
                                                                           "9\0blksize\0"
                                                                           "512\0"sv));
    std::uint8_t header[kDataHeaderBytes];
    store_data_header(header, 0xfffe);
    CHECK(std::vector<std::uint8_t>(header, header + 4) == bytes("\0\3\xff\xfe"sv));
}

TEST_CASE("a root before a name is left out, and nothing else of it") {
    const std::pair<const char*, const char*> rows[] = {
        {"undionly.kpxe", "undionly.kpxe"},
        {"/undionly.kpxe", "undionly.kpxe"},
        {"//undionly.kpxe", "undionly.kpxe"},
        {"./undionly.kpxe", "undionly.kpxe"},
        {"\\undionly.kpxe", "undionly.kpxe"},
        {".\\/./undionly.kpxe", "undionly.kpxe"},
        {"/", ""},
        {"", ""},
        {".", "."},
        {"..", ".."},
        {"/../etc/passwd", "../etc/passwd"},
        {"..\\..\\x", "../../x"},
        {"a/./b", "a/./b"},
        {".hidden", ".hidden"},
    };
    for (const auto& [asked, name] : rows) {
        INFO(asked);
        CHECK(plain_name(asked) == name);
    }
}
