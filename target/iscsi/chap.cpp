#include "target/iscsi/chap.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>

#include "common/hex.hpp"

namespace goldlink::iscsi {

namespace {

constexpr std::array kAlgorithms{ChapAlgorithm::md5, ChapAlgorithm::sha1, ChapAlgorithm::sha256,
                                 ChapAlgorithm::sha3_256};

const EVP_MD* digest_of(ChapAlgorithm algorithm) {
    switch (algorithm) {
        case ChapAlgorithm::md5:
            return EVP_md5();
        case ChapAlgorithm::sha1:
            return EVP_sha1();
        case ChapAlgorithm::sha256:
            return EVP_sha256();
        case ChapAlgorithm::sha3_256:
            return EVP_sha3_256();
        case ChapAlgorithm::none:
            break;
    }
    return nullptr;
}

// The first algorithm of the initiator's list that we can (12.1.3: it lists them by preference).
ChapAlgorithm choose(std::string_view list) {
    while (!list.empty()) {
        const std::size_t comma = std::min(list.find(','), list.size());
        const auto number = parse_number(list.substr(0, comma)).value_or(0);
        for (const ChapAlgorithm known : kAlgorithms)
            if (number == static_cast<std::uint64_t>(known)) return known;
        list.remove_prefix(std::min(comma + 1, list.size()));
    }
    return ChapAlgorithm::none;
}

std::optional<std::string_view> find(std::span<const KeyValue> keys, std::string_view key) {
    for (const KeyValue& pair : keys)
        if (pair.key == key) return pair.value;
    return std::nullopt;
}

}  // namespace

std::vector<std::uint8_t> chap_response(ChapAlgorithm algorithm, std::uint8_t id,
                                        std::string_view secret, Bytes challenge) {
    const EVP_MD* digest = digest_of(algorithm);
    if (digest == nullptr) return {};
    const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                          &EVP_MD_CTX_free);
    std::vector<std::uint8_t> hash(EVP_MAX_MD_SIZE);
    unsigned size = 0;
    if (!context || EVP_DigestInit_ex(context.get(), digest, nullptr) != 1 ||
        EVP_DigestUpdate(context.get(), &id, 1) != 1 ||
        EVP_DigestUpdate(context.get(), secret.data(), secret.size()) != 1 ||
        EVP_DigestUpdate(context.get(), challenge.data(), challenge.size()) != 1 ||
        EVP_DigestFinal_ex(context.get(), hash.data(), &size) != 1)
        return {};
    hash.resize(size);
    return hash;
}

ChapTarget::Step ChapTarget::handle(std::span<const KeyValue> keys, std::string& response) {
    switch (state_) {
        case State::algorithm:
            return choose_algorithm(keys, response);
        case State::response:
            return verify(keys, response);
        case State::finished:
            break;
    }
    return fail("CHAP keys after the end of the exchange");
}

ChapTarget::Step ChapTarget::choose_algorithm(std::span<const KeyValue> keys,
                                              std::string& response) {
    const auto list = find(keys, "CHAP_A");
    if (!list || keys.size() != 1) return fail("CHAP must begin with CHAP_A alone");
    algorithm_ = choose(*list);
    if (algorithm_ == ChapAlgorithm::none)
        return fail("no CHAP algorithm in common; the initiator offers " + std::string(*list));
    const std::uint8_t id = random_.back();
    append_pair(response, "CHAP_A", std::to_string(static_cast<unsigned>(algorithm_)));
    append_pair(response, "CHAP_I", std::to_string(id));
    append_pair(response, "CHAP_C", format_binary(Bytes(random_).first(kChallengeBytes)));
    state_ = State::response;
    return Step::more;
}

ChapTarget::Step ChapTarget::verify(std::span<const KeyValue> keys, std::string& response) {
    const auto name = find(keys, "CHAP_N");
    const auto answer = find(keys, "CHAP_R");
    const auto id = find(keys, "CHAP_I");
    const auto challenge = find(keys, "CHAP_C");
    if (!name || !answer) return fail("CHAP_N and CHAP_R are missing");
    if (id.has_value() != challenge.has_value())
        return fail("mutual CHAP needs both CHAP_I and CHAP_C");
    const auto given = parse_binary(*answer, EVP_MAX_MD_SIZE);
    if (!given) return fail("CHAP_R is malformed");

    // Every credential of that name is tried to the end, so that time tells nothing.
    bool name_known = false;
    for (const Credential& credential : credentials_) {
        if (credential.username != *name) continue;
        name_known = true;
        const auto expected = chap_response(algorithm_, random_.back(), credential.secret,
                                            Bytes(random_).first(kChallengeBytes));
        if (!expected.empty() && equal_constant_time(as_text(expected), as_text(*given)) &&
            credential_ == nullptr)
            credential_ = &credential;
    }
    if (credential_ == nullptr)
        return fail(name_known ? "wrong CHAP secret for user " + std::string(*name)
                               : "unknown CHAP user " + std::string(*name));
    if (id) return answer_mutual(*id, *challenge, response);
    state_ = State::finished;
    return Step::passed;
}

ChapTarget::Step ChapTarget::answer_mutual(std::string_view id, std::string_view challenge,
                                           std::string& response) {
    const auto number = parse_number(id);
    const auto bytes = parse_binary(challenge, kMaxChallengeBytes);
    if (!number || *number > 255 || !bytes) return fail("CHAP_I or CHAP_C is malformed");
    // RFC 7143 9.2.1: our own challenge sent back is a reflection attack; and one secret for both
    // directions would make such an attack work.
    if (equal_constant_time(as_text(*bytes), as_text(Bytes(random_).first(kChallengeBytes))))
        return fail("the initiator reflects our CHAP challenge");
    if (credential_->mutual_secret.empty())
        return fail("the initiator asks for mutual CHAP, but the link has no mutual secret");
    if (credential_->mutual_secret == credential_->secret)
        return fail("mutual CHAP secret equals the initiator's secret; give them different ones");
    const auto ours = chap_response(algorithm_, static_cast<std::uint8_t>(*number),
                                    credential_->mutual_secret, *bytes);
    if (ours.empty()) return fail("cannot compute the mutual CHAP response");
    append_pair(response, "CHAP_N", credential_->mutual_username);
    append_pair(response, "CHAP_R", format_binary(ours));
    state_ = State::finished;
    return Step::passed;
}

ChapTarget::Step ChapTarget::fail(std::string why) {
    credential_ = nullptr;
    why_ = std::move(why);
    state_ = State::finished;
    return Step::failed;
}

}  // namespace goldlink::iscsi
