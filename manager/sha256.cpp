#include "manager/sha256.hpp"

#include <openssl/sha.h>

#include <array>

#include "common/bytes.hpp"
#include "common/hex.hpp"

namespace goldlink::manager {

std::string sha256_hex(std::string_view text) {
    std::array<std::uint8_t, SHA256_DIGEST_LENGTH> digest{};
    SHA256(as_bytes(text).data(), text.size(), digest.data());
    return to_hex(digest);
}

}  // namespace goldlink::manager
