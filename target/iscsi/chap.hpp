// CHAP as iSCSI uses it (RFC 7143 12.1.3, RFC 1994): the target's side of one exchange, one-way and
// mutual, with the algorithms of IANA's PPP register that iSCSI initiators offer. Pure; randomness
// comes in as bytes.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "target/iscsi/directory.hpp"
#include "target/iscsi/text.hpp"

namespace goldlink::iscsi {

enum class ChapAlgorithm : std::uint8_t {
    none = 0,
    md5 = 5,
    sha1 = 6,
    sha256 = 7,
    sha3_256 = 8
};  // IANA's numbers

// hash(id | secret | challenge). Empty for ChapAlgorithm::none.
std::vector<std::uint8_t> chap_response(ChapAlgorithm algorithm, std::uint8_t id,
                                        std::string_view secret, Bytes challenge);

class ChapTarget {
  public:
    static constexpr std::size_t kChallengeBytes = 32;
    static constexpr std::size_t kMaxChallengeBytes = 1024;        // 12.1.3: what a peer may send
    using Random = std::array<std::uint8_t, kChallengeBytes + 1>;  // challenge and identifier

    enum class Step : std::uint8_t { more, passed, failed };

    ChapTarget(std::span<const Credential> credentials, const Random& random)
        : credentials_(credentials), random_(random) {}

    // The CHAP_ keys of one login request, in order. Appends ours to `response`.
    Step handle(std::span<const KeyValue> keys, std::string& response);

    // After passed: who logged in. After failed: why, for the admin (never sent to the peer).
    const Credential* credential() const { return credential_; }
    const std::string& why() const { return why_; }

  private:
    enum class State : std::uint8_t { algorithm, response, finished };

    Step choose_algorithm(std::span<const KeyValue> keys, std::string& response);
    Step verify(std::span<const KeyValue> keys, std::string& response);
    Step answer_mutual(std::string_view id, std::string_view challenge, std::string& response);
    Step fail(std::string why);

    std::span<const Credential> credentials_;
    Random random_;
    State state_ = State::algorithm;
    ChapAlgorithm algorithm_ = ChapAlgorithm::none;
    const Credential* credential_ = nullptr;
    std::string why_;
};

}  // namespace goldlink::iscsi
