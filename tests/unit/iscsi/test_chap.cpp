#include <catch2/catch.hpp>

#include "common/hex.hpp"
#include "target/iscsi/chap.hpp"

using namespace goldlink;
using namespace goldlink::iscsi;

namespace {

const std::vector<std::uint8_t> kChallenge{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

std::vector<Credential> credentials() {
    return {{"alice", "lasting-secret-1", "target", "mutual-secret-99", 0},
            {"alice", "one-time-secret-2", "", "", 7},
            {"bob", "bobs-long-secret", "target", "bobs-long-secret", 0}};
}

ChapTarget::Random random_bytes() {
    ChapTarget::Random bytes;
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(0x40 + i);
    return bytes;
}

struct Exchange {
    explicit Exchange(const char* algorithms = "5") {
        step = chap.handle(std::vector<KeyValue>{{"CHAP_A", algorithms}}, first);
    }
    std::string right_answer(std::string_view secret,
                             ChapAlgorithm algorithm = ChapAlgorithm::md5) const {
        const auto bytes = random_bytes();
        return format_binary(chap_response(algorithm, bytes.back(), secret,
                                           Bytes(bytes).first(ChapTarget::kChallengeBytes)));
    }
    ChapTarget::Step respond(std::string_view name, const std::string& response,
                             std::vector<KeyValue> more = {}) {
        more.push_back({"CHAP_N", name});
        more.push_back({"CHAP_R", response});
        return step = chap.handle(more, second);
    }

    std::vector<Credential> known = credentials();
    ChapTarget chap{known, random_bytes()};
    ChapTarget::Step step = ChapTarget::Step::failed;
    std::string first, second;
};

}  // namespace

// Computed apart from this code, by Python's hashlib over 17h, the secret and the challenge.
TEST_CASE("CHAP responses of the four algorithms") {
    const std::string_view secret = "secret-of-twelve";
    CHECK(to_hex(chap_response(ChapAlgorithm::md5, 0x17, secret, kChallenge)) ==
          "3988b4023852797947aeffc94438a54a");
    CHECK(to_hex(chap_response(ChapAlgorithm::sha1, 0x17, secret, kChallenge)) ==
          "8faa519a9f3efcf363bf76a20e432c26810718af");
    CHECK(to_hex(chap_response(ChapAlgorithm::sha256, 0x17, secret, kChallenge)) ==
          "8139b7b2903bfdab7f8119be73993fb54dbf0880ffad5977e3df3ba70c2ff4c3");
    CHECK(to_hex(chap_response(ChapAlgorithm::sha3_256, 0x17, secret, kChallenge)) ==
          "c33cfa277f80b4fd10598d9d136995505bf7c2d68c6e186707bcb954600bab5f");
    CHECK(chap_response(ChapAlgorithm::none, 0x17, secret, kChallenge).empty());
}

TEST_CASE("the initiator's order of algorithms decides among those we have") {
    CHECK(Exchange("5").first.starts_with("CHAP_A=5"));
    CHECK(Exchange("7,5").first.starts_with("CHAP_A=7"));
    CHECK(Exchange("8,7,6,5").first.starts_with("CHAP_A=8"));  // open-iscsi with all it has
    CHECK(Exchange("6,8").first.starts_with("CHAP_A=6"));
    CHECK(Exchange("9,128,7").first.starts_with("CHAP_A=7"));
    CHECK(Exchange("99999999999999999999,5").first.starts_with("CHAP_A=5"));
    for (const char* none_of_ours : {"", "0", "4", "9", "256", "-5", "5x", ",,"}) {
        Exchange e(none_of_ours);
        CHECK(e.step == ChapTarget::Step::failed);
        CHECK(e.first.empty());
    }
}

TEST_CASE("one-way CHAP passes with the right secret, of any credential of that name") {
    Exchange lasting;
    CHECK(lasting.respond("alice", lasting.right_answer("lasting-secret-1")) ==
          ChapTarget::Step::passed);
    CHECK(lasting.chap.credential()->generation == 0);
    CHECK(lasting.second.empty());
    Exchange one_time("7");
    CHECK(one_time.respond("alice",
                           one_time.right_answer("one-time-secret-2", ChapAlgorithm::sha256)) ==
          ChapTarget::Step::passed);
    CHECK(one_time.chap.credential()->generation == 7);
}

TEST_CASE("secrets of any length that a link may have, to the last byte") {
    for (const std::size_t length : {12U, 16U, 17U, 100U, 255U}) {
        for (const auto algorithm : {ChapAlgorithm::md5, ChapAlgorithm::sha1, ChapAlgorithm::sha256,
                                     ChapAlgorithm::sha3_256}) {
            const std::string secret(length, 's');
            std::string other = secret;
            other.back() = 't';
            for (const auto& [given, step] : {std::pair{secret, ChapTarget::Step::passed},
                                              std::pair{other, ChapTarget::Step::failed}}) {
                const std::string offer = std::to_string(static_cast<unsigned>(algorithm));
                Exchange e(offer.c_str());
                e.known.front().secret = secret;
                CHECK(e.respond("alice", e.right_answer(given, algorithm)) == step);
            }
        }
    }
}

TEST_CASE("a response that is cut short or of another algorithm does not pass") {
    Exchange cut;
    CHECK(cut.respond("alice", cut.right_answer("lasting-secret-1").substr(0, 18)) ==
          ChapTarget::Step::failed);
    CHECK(Exchange().respond("alice", "0x") == ChapTarget::Step::failed);
    Exchange confused("8,7");
    CHECK(confused.respond("alice",
                           confused.right_answer("lasting-secret-1", ChapAlgorithm::sha256)) ==
          ChapTarget::Step::failed);
}

TEST_CASE("CHAP fails on what is wrong, and says why to us alone") {
    Exchange wrong;
    CHECK(wrong.respond("alice", wrong.right_answer("another secret")) == ChapTarget::Step::failed);
    CHECK(wrong.chap.why().find("wrong CHAP secret") != std::string::npos);
    CHECK(wrong.chap.credential() == nullptr);
    Exchange unknown;
    CHECK(unknown.respond("mallory", unknown.right_answer("lasting-secret-1")) ==
          ChapTarget::Step::failed);
    CHECK(unknown.chap.why().find("unknown CHAP user") != std::string::npos);
    Exchange others_secret;  // bob's name with alice's secret
    CHECK(others_secret.respond("bob", others_secret.right_answer("lasting-secret-1")) ==
          ChapTarget::Step::failed);
    CHECK(Exchange().respond("alice", "nonsense") == ChapTarget::Step::failed);
    CHECK(Exchange().respond("alice", "0x" + std::string(4000, 'a')) == ChapTarget::Step::failed);
    Exchange after_end;
    after_end.respond("alice", after_end.right_answer("lasting-secret-1"));
    CHECK(after_end.respond("alice", after_end.right_answer("lasting-secret-1")) ==
          ChapTarget::Step::failed);
}

TEST_CASE("mutual CHAP answers with the target's secret") {
    Exchange e;
    CHECK(e.respond("alice", e.right_answer("lasting-secret-1"),
                    {{"CHAP_I", "33"}, {"CHAP_C", "0x000102030405060708090a0b0c0d0e0f"}}) ==
          ChapTarget::Step::passed);
    std::string expected;
    append_pair(expected, "CHAP_N", "target");
    append_pair(
        expected, "CHAP_R",
        format_binary(chap_response(ChapAlgorithm::md5, 33, "mutual-secret-99", kChallenge)));
    CHECK(e.second == expected);
}

TEST_CASE("mutual CHAP is refused where it would be unsafe or is not set up") {
    const auto ours = random_bytes();
    const std::string reflected = format_binary(Bytes(ours).first(ChapTarget::kChallengeBytes));
    Exchange reflection;
    CHECK(reflection.respond("alice", reflection.right_answer("lasting-secret-1"),
                             {{"CHAP_I", "1"}, {"CHAP_C", reflected}}) == ChapTarget::Step::failed);
    CHECK(reflection.chap.why().find("reflects") != std::string::npos);
    CHECK(reflection.second.empty());
    Exchange none;
    CHECK(none.respond("alice", none.right_answer("one-time-secret-2"),
                       {{"CHAP_I", "1"}, {"CHAP_C", "0x01"}}) == ChapTarget::Step::failed);
    CHECK(none.chap.why().find("no mutual secret") != std::string::npos);
    Exchange same;
    CHECK(same.respond("bob", same.right_answer("bobs-long-secret"),
                       {{"CHAP_I", "1"}, {"CHAP_C", "0x01"}}) == ChapTarget::Step::failed);
    // A challenge of another length that begins like ours is none of ours.
    Exchange longer;
    CHECK(longer.respond("alice", longer.right_answer("lasting-secret-1"),
                         {{"CHAP_I", "1"}, {"CHAP_C", reflected + "00"}}) ==
          ChapTarget::Step::passed);
    Exchange half;
    CHECK(half.respond("alice", half.right_answer("lasting-secret-1"), {{"CHAP_I", "1"}}) ==
          ChapTarget::Step::failed);
    Exchange bad_id;
    CHECK(bad_id.respond("alice", bad_id.right_answer("lasting-secret-1"),
                         {{"CHAP_I", "256"}, {"CHAP_C", "0x01"}}) == ChapTarget::Step::failed);
}
