#include "common/digest.hpp"

#include <openssl/evp.h>

#include "common/check.hpp"
#include "common/hex.hpp"

namespace goldlink {

std::string to_hex(const Digest& digest) { return to_hex(Bytes(digest)); }

Result<Digest> parse_digest(std::string_view hex) {
    Digest digest{};
    auto bytes = from_hex(hex);
    if (!bytes || bytes->size() != digest.size())
        return failure(ErrorKind::invalid, "a version's digest is 64 hex digits, this is \"" +
                                               std::string(hex.substr(0, 80)) + "\"");
    std::memcpy(digest.data(), bytes->data(), digest.size());
    return digest;
}

Hasher::Hasher() : context_(EVP_MD_CTX_new()) {
    CHECK(context_ != nullptr, "out of memory for a hash context");
}

Hasher::~Hasher() { EVP_MD_CTX_free(context_); }

Digest Hasher::hash(Bytes bytes) {
    start();
    add(bytes);
    return finish();
}

void Hasher::start() {
    CHECK(EVP_DigestInit_ex(context_, EVP_sha256(), nullptr) == 1, "OpenSSL has no SHA-256");
}

void Hasher::add(Bytes bytes) {
    CHECK(EVP_DigestUpdate(context_, bytes.data(), bytes.size()) == 1, "SHA-256 cannot fail");
}

Digest Hasher::finish() {
    Digest digest;
    unsigned length = 0;
    CHECK(EVP_DigestFinal_ex(context_, digest.data(), &length) == 1 && length == digest.size(),
          "SHA-256 cannot fail");
    return digest;
}

bool all_zero(Bytes bytes) {
    // The first words tell for nearly all data; then one vectorised pass over the rest.
    if (bytes.empty()) return true;
    if (load_le64(bytes.data()) != 0 || load_le64(bytes.data() + 8) != 0) return false;
    return std::memcmp(bytes.data(), bytes.data() + 16, bytes.size() - 16) == 0;
}

}  // namespace goldlink
