// Bounded readers and writers for wire and disk bytes. Nothing here casts a struct onto bytes.
//
// The load_/store_ functions need the caller to have checked the length (parsers check a fixed
// header once); ByteReader checks each step itself and turns sticky-bad on the first short read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace goldlink {

using Bytes = std::span<const std::uint8_t>;
using MutableBytes = std::span<std::uint8_t>;

inline std::uint16_t load_be16(const std::uint8_t* p) {
    return static_cast<std::uint16_t>((p[0] << 8) | p[1]);
}
inline std::uint32_t load_be24(const std::uint8_t* p) {
    return (std::uint32_t{p[0]} << 16) | (std::uint32_t{p[1]} << 8) | p[2];
}
inline std::uint32_t load_be32(const std::uint8_t* p) {
    std::uint32_t v;
    std::memcpy(&v, p, sizeof v);
    return __builtin_bswap32(v);
}
inline std::uint64_t load_be64(const std::uint8_t* p) {
    std::uint64_t v;
    std::memcpy(&v, p, sizeof v);
    return __builtin_bswap64(v);
}
inline void store_be16(std::uint8_t* p, std::uint16_t v) {
    p[0] = static_cast<std::uint8_t>(v >> 8);
    p[1] = static_cast<std::uint8_t>(v);
}
inline void store_be24(std::uint8_t* p, std::uint32_t v) {
    p[0] = static_cast<std::uint8_t>(v >> 16);
    p[1] = static_cast<std::uint8_t>(v >> 8);
    p[2] = static_cast<std::uint8_t>(v);
}
inline void store_be32(std::uint8_t* p, std::uint32_t v) {
    v = __builtin_bswap32(v);
    std::memcpy(p, &v, sizeof v);
}
inline void store_be64(std::uint8_t* p, std::uint64_t v) {
    v = __builtin_bswap64(v);
    std::memcpy(p, &v, sizeof v);
}
// Little endian: our own disk formats and iSCSI digests.
inline std::uint32_t load_le32(const std::uint8_t* p) {
    std::uint32_t v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
inline std::uint64_t load_le64(const std::uint8_t* p) {
    std::uint64_t v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
inline void store_le32(std::uint8_t* p, std::uint32_t v) { std::memcpy(p, &v, sizeof v); }
inline void store_le64(std::uint8_t* p, std::uint64_t v) { std::memcpy(p, &v, sizeof v); }

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "x86-64 and arm64 are little endian");

// Reads big-endian fields in order. After a read past the end every value is zero, every span
// empty, and ok() is false.
class ByteReader {
  public:
    explicit ByteReader(Bytes bytes) : rest_(bytes) {}

    std::uint8_t u8() { return take(1) ? last_[0] : std::uint8_t{0}; }
    std::uint16_t be16() { return take(2) ? load_be16(last_) : std::uint16_t{0}; }
    std::uint32_t be32() { return take(4) ? load_be32(last_) : 0U; }
    std::uint64_t be64() { return take(8) ? load_be64(last_) : std::uint64_t{0}; }
    Bytes bytes(std::size_t count) { return take(count) ? Bytes(last_, count) : Bytes(); }
    void skip(std::size_t count) { take(count); }

    Bytes rest() const { return rest_; }
    bool empty() const { return rest_.empty(); }
    bool ok() const { return ok_; }

  private:
    bool take(std::size_t count) {
        if (count > rest_.size()) {
            ok_ = false;
            rest_ = {};
            return false;
        }
        last_ = rest_.data();
        rest_ = rest_.subspan(count);
        return true;
    }

    Bytes rest_;
    const std::uint8_t* last_ = nullptr;
    bool ok_ = true;
};

inline Bytes as_bytes(std::string_view text) {
    return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}
inline std::string_view as_text(Bytes bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace goldlink
