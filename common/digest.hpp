// SHA-256 digests of chunks and manifests. Threads: any; a Hasher belongs to one at a time.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "common/bytes.hpp"
#include "common/result.hpp"

struct evp_md_ctx_st;

namespace goldlink {

// All zero: the digest that stands for a chunk of zeros, which is never stored.
using Digest = std::array<std::uint8_t, 32>;

inline bool is_zero(const Digest& digest) { return digest == Digest{}; }
std::string to_hex(const Digest& digest);
Result<Digest> parse_digest(std::string_view hex);  // 64 hex digits, lower case

struct DigestHash {
    std::size_t operator()(const Digest& digest) const {
        std::size_t value;
        std::memcpy(&value, digest.data(), sizeof value);
        return value;
    }
};

class Hasher {
  public:
    Hasher();
    Hasher(const Hasher&) = delete;
    Hasher& operator=(const Hasher&) = delete;
    ~Hasher();

    Digest hash(Bytes bytes);

    void start();
    void add(Bytes bytes);
    Digest finish();

  private:
    evp_md_ctx_st* context_;
};

// True when every byte is zero. `bytes` is a multiple of 16 long.
bool all_zero(Bytes bytes);

}  // namespace goldlink
