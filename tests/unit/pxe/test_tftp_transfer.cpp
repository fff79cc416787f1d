#include <catch2/catch.hpp>
#include <random>

#include "pxe/tftp_transfer.hpp"

using namespace goldlink;
using namespace goldlink::pxe::tftp;
using namespace std::chrono_literals;
using Send = Transfer::Step::Send;
using State = Transfer::State;

namespace {

const Transfer::Time kStart = Transfer::Time{} + 1h;

std::vector<std::uint8_t> ack(std::uint64_t block) {
    return {0, 4, static_cast<std::uint8_t>(block >> 8), static_cast<std::uint8_t>(block)};
}

Terms terms(std::uint32_t block_bytes = 512, std::uint32_t window = 1) {
    return negotiate(
        {{"blksize", std::to_string(block_bytes)}, {"windowsize", std::to_string(window)}}, 0);
}

void expect_blocks(const Transfer::Step& step, std::uint64_t first, std::uint32_t count) {
    CHECK(step.send == Send::blocks);
    CHECK(step.first == first);
    CHECK(step.count == count);
}

}  // namespace

TEST_CASE("options are taken, bounded or left out") {
    struct Row {
        Option asked;
        std::vector<Option> accepted;
    };
    const Row rows[] = {
        {{"blksize", "1468"}, {{"blksize", "1468"}}},
        {{"blksize", "65464"}, {{"blksize", "1468"}}},
        {{"blksize", "8"}, {{"blksize", "8"}}},
        {{"blksize", "7"}, {}},
        {{"blksize", "65465"}, {}},
        {{"blksize", "1e3"}, {}},
        {{"blksize", "-8"}, {}},
        {{"blksize", "99999999999999999999999"}, {}},
        {{"tsize", "0"}, {{"tsize", "174000"}}},
        {{"timeout", "5"}, {{"timeout", "5"}}},
        {{"timeout", "0"}, {}},
        {{"timeout", "255"}, {}},
        {{"windowsize", "4"}, {{"windowsize", "4"}}},
        {{"windowsize", "65535"}, {{"windowsize", "32"}}},
        {{"windowsize", "0"}, {}},
        {{"multicast", ""}, {}},
    };
    for (const Row& row : rows) {
        INFO(row.asked.name << "=" << row.asked.value);
        CHECK(negotiate({row.asked}, 174000).accepted == row.accepted);
    }
    const Terms twice = negotiate({{"blksize", "600"}, {"blksize", "900"}}, 1);
    CHECK(twice.block_bytes == 600);
    CHECK(twice.accepted.size() == 1);
    CHECK(negotiate({{"timeout", "5"}}, 1).timeout == 5s);
}

TEST_CASE("without options the first block is sent at once, and a short one ends the file") {
    Transfer transfer({}, 1000);
    expect_blocks(transfer.start(kStart), 1, 1);
    CHECK(transfer.length_of(1) == 512);
    expect_blocks(transfer.receive(ack(1), kStart), 2, 1);
    CHECK(transfer.length_of(2) == 488);
    CHECK(transfer.receive(ack(2), kStart).send == Send::nothing);
    CHECK(transfer.state() == State::done);
}

TEST_CASE("a file of whole blocks ends with an empty one, and so does an empty file") {
    Transfer whole({}, 512);
    whole.start(kStart);
    expect_blocks(whole.receive(ack(1), kStart), 2, 1);
    CHECK(whole.length_of(2) == 0);
    Transfer empty({}, 0);
    expect_blocks(empty.start(kStart), 1, 1);
    CHECK(empty.length_of(1) == 0);
    empty.receive(ack(1), kStart);
    CHECK(empty.state() == State::done);
}

TEST_CASE("options are acknowledged first, and the OACK is repeated when lost") {
    Transfer transfer(terms(1468), 3000);
    CHECK(transfer.start(kStart).send == Send::option_ack);
    CHECK(transfer.receive(ack(1), kStart).send == Send::nothing);  // of nothing sent yet
    CHECK(transfer.timeout(transfer.deadline() - 1ms).send == Send::nothing);
    CHECK(transfer.timeout(transfer.deadline()).send == Send::option_ack);
    expect_blocks(transfer.receive(ack(0), kStart + 2s), 1, 1);
}

TEST_CASE("a repeated ACK is not answered: no sorcerer's apprentice (RFC 1123)") {
    Transfer transfer({}, 5000);
    transfer.start(kStart);
    expect_blocks(transfer.receive(ack(1), kStart), 2, 1);
    CHECK(transfer.receive(ack(1), kStart).send == Send::nothing);
    CHECK(transfer.receive(ack(0), kStart).send == Send::nothing);
    CHECK(transfer.receive(ack(7), kStart).send == Send::nothing);  // of a block not sent
    expect_blocks(transfer.receive(ack(2), kStart), 3, 1);
    CHECK(transfer.retransmitted() == 0);
}

TEST_CASE("a client that never answers is sent little, whatever timeout it asked for") {
    for (const Terms& asked : {Terms{}, negotiate({{"timeout", "30"}}, 5000)}) {
        Transfer transfer(asked, 5000);
        const auto first = transfer.start(kStart).send;
        CHECK(transfer.deadline() == kStart + 1s);
        CHECK(transfer.timeout(kStart + 1s).send == first);
        CHECK(transfer.deadline() == kStart + 5s);
        CHECK(transfer.timeout(kStart + 5s).send == Send::nothing);  // it may be nobody's address
        CHECK(transfer.state() == State::failed);
        CHECK_FALSE(transfer.answered());
    }
}

TEST_CASE("a request that is repeated gets its answer again, until the first ACK") {
    Transfer with_options(terms(512, 4), 5000);
    with_options.start(kStart);
    CHECK(with_options.repeat().send == Send::option_ack);
    CHECK(with_options.deadline() == kStart + 1s);
    with_options.receive(ack(0), kStart + 2s);
    CHECK(with_options.answered());
    CHECK(with_options.last_progress() == kStart + 2s);
    Transfer without({}, 5000);
    without.start(kStart);
    expect_blocks(without.repeat(), 1, 1);
    expect_blocks(without.receive(ack(1), kStart), 2, 1);
    CHECK(without.answered());
}

TEST_CASE("a lost block is repeated more and more slowly, then given up with an ERROR") {
    Transfer transfer({}, 5000);
    transfer.start(kStart);
    transfer.receive(ack(1), kStart);
    std::vector<std::chrono::milliseconds> waits;
    auto now = kStart;
    for (unsigned i = 0; i < kMaxRetransmits; ++i) {
        waits.push_back(
            std::chrono::duration_cast<std::chrono::milliseconds>(transfer.deadline() - now));
        now = transfer.deadline();
        expect_blocks(transfer.timeout(now), 2, 1);
    }
    CHECK(waits == std::vector<std::chrono::milliseconds>{1s, 2s, 4s, 8s, 8s, 8s});
    CHECK(transfer.retransmitted() == kMaxRetransmits);
    const auto last = transfer.timeout(transfer.deadline());
    CHECK(last.send == Send::error);
    CHECK(transfer.state() == State::failed);
}

TEST_CASE("progress gives a transfer its patience back; an agreed timeout stays as it is") {
    Transfer transfer(negotiate({{"timeout", "3"}}, 5000), 5000);
    transfer.start(kStart);
    transfer.receive(ack(0), kStart);
    auto now = kStart;
    for (std::uint64_t block = 1; block < 6; ++block) {
        for (unsigned i = 0; i < kMaxRetransmits; ++i) {
            CHECK(transfer.deadline() - now == 3s);
            now = transfer.deadline();
            transfer.timeout(now);
        }
        transfer.receive(ack(block), now);
        CHECK(transfer.state() == State::running);
    }
}

TEST_CASE("a window is sent whole and goes on from where the ACK says (RFC 7440)") {
    Transfer transfer(terms(512, 4), 512 * 9 + 1);  // ten blocks
    transfer.start(kStart);
    expect_blocks(transfer.receive(ack(0), kStart), 1, 4);
    expect_blocks(transfer.receive(ack(4), kStart), 5, 4);
    expect_blocks(transfer.receive(ack(6), kStart), 7, 4);  // 7 was lost: 7 to 10
    CHECK(transfer.retransmitted() == 2);
    CHECK(transfer.receive(ack(4), kStart).send == Send::nothing);  // late
    expect_blocks(transfer.receive(ack(8), kStart), 9, 2);
    transfer.receive(ack(10), kStart);
    CHECK(transfer.state() == State::done);
}

TEST_CASE("the loss of a window's first block is answered once, however often it is reported") {
    Transfer transfer(terms(512, 4), 5000);
    transfer.start(kStart);
    transfer.receive(ack(0), kStart);
    expect_blocks(transfer.receive(ack(0), kStart), 1, 4);
    CHECK(transfer.receive(ack(0), kStart).send == Send::nothing);
    CHECK(transfer.receive(ack(0), kStart).send == Send::nothing);
    expect_blocks(transfer.receive(ack(4), kStart), 5, 4);
    expect_blocks(transfer.receive(ack(4), kStart), 5, 4);
}

TEST_CASE("block numbers wrap on the wire and the file goes on") {
    constexpr std::uint64_t kBytes = 8ULL * 140000 + 3;  // beyond the second wrap
    Transfer transfer(terms(8, 32), kBytes);
    transfer.start(kStart);
    auto step = transfer.receive(ack(0), kStart);
    std::uint64_t got = 0;
    while (transfer.state() == State::running) {
        REQUIRE(step.send == Send::blocks);
        REQUIRE(step.first == got / 8 + 1);
        const std::uint64_t last = step.first + step.count - 1;
        REQUIRE(transfer.offset_of(step.first) == got);
        got = transfer.offset_of(last) + transfer.length_of(last);
        step = transfer.receive(ack(last), kStart);
    }
    CHECK(transfer.state() == State::done);
    CHECK(got == kBytes);
}

TEST_CASE("what does not belong to a read ends it with an ERROR; a peer's ERROR ends it silently") {
    for (const std::vector<std::uint8_t>& packet : {std::vector<std::uint8_t>{0, 3, 0, 1, 'x'},
                                                    {0, 1, 'f', 0, 'o', 0},
                                                    {0, 2, 'f'},
                                                    {0, 9},
                                                    {0}}) {
        Transfer transfer({}, 5000);
        transfer.start(kStart);
        const auto step = transfer.receive(packet, kStart);
        CHECK(step.send == Send::error);
        CHECK(step.error == ErrorCode::illegal);
        CHECK(transfer.state() == State::failed);
    }
    Transfer transfer({}, 5000);
    transfer.start(kStart);
    CHECK(transfer.receive(std::vector<std::uint8_t>{0, 5, 0, 8, 0}, kStart).send == Send::nothing);
    CHECK(transfer.state() == State::failed);
    CHECK(transfer.why().find("code 8") != std::string::npos);
}

// A client after RFC 7440 over a network that loses, repeats and delays packets in both directions.
TEST_CASE("a file arrives whole over a network that loses and repeats packets") {
    for (const std::uint32_t window : {1U, 2U, 4U, 16U, 32U}) {
        for (unsigned seed = 1; seed <= 20; ++seed) {
            INFO("window " << window << " seed " << seed);
            std::mt19937 random(seed);
            const auto chance = [&](unsigned percent) { return random() % 100 < percent; };
            const std::uint64_t size = random() % 60000;
            Transfer transfer(
                negotiate(
                    {{"blksize", "512"}, {"windowsize", std::to_string(window)}, {"timeout", "1"}},
                    size),
                size);
            auto now = kStart;
            std::uint64_t received = 0;  // blocks in order
            bool complete = false;
            std::vector<std::uint64_t> replies;  // ACKs on their way
            std::uint64_t since_ack = 0;
            const auto deliver = [&](const Transfer::Step& step) {
                if (step.send == Send::option_ack && !chance(20) && received == 0)
                    replies.push_back(0);
                if (step.send != Send::blocks) return;
                for (std::uint64_t block = step.first; block < step.first + step.count; ++block) {
                    if (chance(10)) continue;  // lost
                    for (int copy = chance(10) ? 2 : 1; copy > 0; --copy) {
                        if (block == received + 1) {
                            ++received;
                            ++since_ack;
                            complete = transfer.length_of(block) < 512;
                            if (complete || since_ack == window) {
                                replies.push_back(received);
                                since_ack = 0;
                            }
                        } else {
                            replies.push_back(received);
                            since_ack = 0;
                        }
                    }
                }
            };
            deliver(transfer.start(now));
            int steps = 0;
            while (transfer.state() == State::running && ++steps < 20000) {
                if (replies.empty() && !transfer.answered()) {
                    deliver(transfer.repeat());  // the client asks again before we give up
                    continue;
                }
                if (replies.empty()) {
                    now = transfer.deadline();
                    deliver(transfer.timeout(now));
                    continue;
                }
                const std::uint64_t block = replies.front();
                replies.erase(replies.begin());
                if (chance(10)) continue;
                deliver(transfer.receive(ack(block), now));
            }
            // The last ACK may be lost for ever; the file has arrived all the same.
            CHECK(complete);
            CHECK(received == size / 512 + 1);
            CHECK(transfer.state() != State::running);
        }
    }
}
