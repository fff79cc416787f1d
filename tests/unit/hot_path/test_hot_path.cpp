// ARCHITECTURE.md: no allocation, lock, log line or exception on the way of a READ or a WRITE. The
// real connection, session, device and overlay disk, over files in memory, with everything but the
// socket; what they do is counted from outside.
#include <spdlog/sinks/base_sink.h>

#include <array>
#include <catch2/catch.hpp>
#include <mutex>
#include <random>

#include "common/log.hpp"
#include "target/iscsi/connection.hpp"
#include "tests/unit/disk/disk_fixture.hpp"
#include "tests/unit/hot_path/hooks.hpp"

using namespace goldlink;
using namespace goldlink::iscsi;
using disk::test::DiskBytes;

namespace {

constexpr std::uint32_t kSector = 512;
constexpr std::uint32_t kDepth = 8;  // commands at once, each in its own part of the disk
constexpr std::uint32_t kPartSectors = 2048;
constexpr std::uint32_t kMaxSectors = 128;
constexpr std::array<std::uint32_t, 6> kSizes{8, 8, 8, 1, 32, kMaxSectors};
constexpr std::uint32_t kFirstBurst = 8192;

// Counts lines, so that what is logged would be seen whatever it says.
class LineCounter final : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
  public:
    std::uint64_t lines = 0;

  private:
    void sink_it_(const spdlog::details::log_msg&) override { ++lines; }
    void flush_() override {}
};

struct OneLink final : Directory, LinkEndpoint {
    explicit OneLink(std::shared_ptr<disk::Disk> disk)
        : device("iqn.2026-11.io.goldlink:hot", {{0, {}, std::move(disk)}}),
          entry(std::make_shared<TargetEntry>()) {
        entry->iqn = "iqn.2026-11.io.goldlink:hot";
        entry->endpoint = this;
    }
    std::shared_ptr<const TargetEntry> find_target(std::string_view) const override {
        return entry;
    }
    std::vector<std::shared_ptr<const TargetEntry>> list_targets(std::string_view) const override {
        return {entry};
    }
    void login_refused(std::string_view, std::string_view, std::string_view,
                       std::string_view why) override {
        FAIL(why);
    }
    scsi::Device* session_started(const SessionInfo&, SessionControl&) override { return &device; }
    void session_ended(SessionControl&, SessionEnd) override {}
    void first_write(SessionControl&) override {}

    scsi::Device device;
    std::shared_ptr<TargetEntry> entry;
};

// An initiator that owns all its memory from the start.
class Initiator final : public Transport {
  public:
    Initiator(OneLink& link, DiskBytes& expected)
        : environment_(
              link, [](MutableBytes bytes) { std::ranges::fill(bytes, 0x5a); }, 0),
          connection_(environment_, *this, "peer", PortalAddresses{"10.0.0.1:3260", {}}),
          expected_(expected),
          out_(2U << 20),
          in_(2U << 20) {
        std::string keys;
        append_pair(keys, "InitiatorName", "iqn.a:hot");
        append_pair(keys, "TargetName", "iqn.2026-11.io.goldlink:hot");
        append_pair(keys, "InitialR2T", "No");
        append_pair(keys, "FirstBurstLength", std::to_string(kFirstBurst));
        append_pair(keys, "MaxBurstLength", "16384");
        append_pair(keys, "MaxOutstandingR2T", "2");
        append_pair(keys, "MaxRecvDataSegmentLength", "8192");
        pdu(Opcode::login, 0x87, as_bytes(keys)).be32(24, cmd_sn_);
        out_[0] |= 0x40;
        exchange();
        REQUIRE(connection_.logged_in());
        while (attention_) {
            attention_ = false;
            pdu(Opcode::scsi_command, kFinal, {}).itt(0).be32(24, cmd_sn_++);  // TEST UNIT READY
            open_ = 1;
            exchange();
        }
    }
    ~Initiator() override {
        connection_.transport_lost(SessionEnd::connection_lost);
        connection_.output().clear();
    }

    // kDepth commands, all sent before an answer is read.
    void round() {
        for (std::uint32_t i = 0; i < kDepth; ++i) start(i);
        exchange();
    }
    // Every block is written, and every size of command as many at once as there may be.
    void everything() {
        for (const std::uint32_t sectors : kSizes) {
            for (std::uint32_t at = 0; at < kPartSectors; at += kMaxSectors) {
                for (const bool write : {true, false}) {
                    for (std::uint32_t i = 0; i < kDepth; ++i) command(i, write, at, sectors);
                    exchange();
                }
            }
        }
    }

    std::uint64_t commands() const { return commands_; }
    bool good() const { return good_; }

    void output_pending() override {}
    void flush() override { take_output(); }

  private:
    struct Command {
        bool write = false;
        std::uint32_t lba = 0;
        std::uint32_t bytes = 0;
        std::uint32_t got_bytes = 0;
    };

    BhsWriter pdu(Opcode opcode, std::uint8_t flags, Bytes data) {
        BhsWriter writer(out_.data() + out_bytes_, opcode, flags);
        writer.data_length(static_cast<std::uint32_t>(data.size()));
        std::memcpy(out_.data() + out_bytes_ + kBhsBytes, data.data(), data.size());
        out_bytes_ += kBhsBytes + padded(data.size());
        return writer;
    }

    void start(std::uint32_t i) {
        const std::uint32_t sectors = kSizes[random_() % kSizes.size()];
        const auto at = static_cast<std::uint32_t>(random_() % (kPartSectors - sectors));
        command(i, random_() % 2 == 0, sectors > 1 ? at / 8 * 8 : at, sectors);
    }

    void command(std::uint32_t i, bool write, std::uint32_t at, std::uint32_t sectors) {
        Command& c = all_[i];
        c = {write, i * kPartSectors + at, sectors * kSector, 0};
        ++commands_;
        ++open_;
        std::uint8_t* content = expected_.data() + std::size_t{c.lba} * kSector;
        std::uint32_t now = 0;
        if (write) {
            std::memset(content, static_cast<int>(random_() % 256), c.bytes);
            std::memcpy(content, &commands_, sizeof commands_);
            now = std::min(c.bytes, kFirstBurst);
        }
        auto flags = static_cast<std::uint8_t>(kFinal | 1 | (write ? kCommandWrite : kCommandRead));
        std::uint8_t* header = out_.data() + out_bytes_;
        pdu(Opcode::scsi_command, flags, {content, now})
            .itt(i)
            .be32(20, c.bytes)
            .be32(24, cmd_sn_++);
        header[32] = write ? 0x2a : 0x28;
        store_be32(header + 34, c.lba);
        store_be16(header + 39, static_cast<std::uint16_t>(sectors));
    }

    void exchange() {
        while (out_bytes_ > 0) {
            Bytes rest = Bytes(out_).first(std::exchange(out_bytes_, 0));
            while (!rest.empty()) {
                const MutableBytes direct = connection_.direct_space();
                const std::size_t placed = std::min(direct.size(), rest.size());
                if (placed > 0) std::memcpy(direct.data(), rest.data(), placed);
                connection_.direct_received(placed);
                // What a socket gives at once: the last PDU is often not whole.
                const Bytes staged =
                    rest.subspan(placed).first(std::min<std::size_t>(rest.size() - placed, 20'000));
                rest = rest.subspan(placed + connection_.consume(staged));
                take_output();
            }
            answer();
        }
        good_ = good_ && open_ == 0;
    }

    void take_output() {
        OutputQueue& output = connection_.output();
        while (!output.empty()) {
            std::array<iovec, 64> vectors;
            const std::size_t count = output.gather(vectors.data(), vectors.size());
            std::size_t total = 0;
            for (std::size_t i = 0; i < count; ++i) {
                std::memcpy(in_.data() + in_bytes_ + total, vectors[i].iov_base,
                            vectors[i].iov_len);
                total += vectors[i].iov_len;
            }
            in_bytes_ += total;
            output.sent(total);
        }
    }

    void answer() {
        for (std::size_t at = 0; at < in_bytes_;) {
            const Bhs bhs(in_.data() + at);
            at += kBhsBytes;
            if (bhs.opcode() == Opcode::login_response) {
                attention_ = true;
            } else {
                Command& c = all_[bhs.itt() % kDepth];
                switch (bhs.opcode()) {
                    case Opcode::r2t:
                        send_data(c, bhs);
                        break;
                    case Opcode::data_in: {
                        const std::uint32_t offset = bhs.buffer_offset();
                        const std::uint8_t* content =
                            expected_.data() + std::size_t{c.lba} * kSector + offset;
                        good_ = good_ && !c.write && offset == c.got_bytes &&
                                std::memcmp(content, in_.data() + at, bhs.data_length()) == 0;
                        c.got_bytes += bhs.data_length();
                        if ((bhs.flags() & kDataInStatus) == 0) break;
                        good_ = good_ && c.got_bytes == c.bytes;
                        --open_;
                        break;
                    }
                    case Opcode::scsi_response:
                        if (bhs.bytes()[3] != 0) attention_ = true;
                        good_ = good_ && (bhs.bytes()[3] == 0 || commands_ == 0);
                        --open_;
                        break;
                    default:
                        good_ = false;
                }
            }
            at += padded(bhs.data_length());
        }
        in_bytes_ = 0;
    }

    void send_data(const Command& c, Bhs r2t) {
        const std::uint32_t offset = load_be32(r2t.bytes() + 40);
        const std::uint32_t length = load_be32(r2t.bytes() + 44);
        const std::uint8_t* content = expected_.data() + std::size_t{c.lba} * kSector + offset;
        pdu(Opcode::data_out, kFinal, {content, length})
            .itt(r2t.itt())
            .ttt(r2t.ttt())
            .be32(40, offset);
    }

    Environment environment_;
    Connection connection_;
    DiskBytes& expected_;
    DiskBytes out_, in_;
    std::size_t out_bytes_ = 0, in_bytes_ = 0;
    std::array<Command, kDepth> all_;
    std::uint32_t cmd_sn_ = 1;
    std::uint32_t open_ = 0;  // commands without an answer
    std::uint64_t commands_ = 0;
    bool attention_ = false;
    bool good_ = true;
    std::minstd_rand random_{1};
};

}  // namespace

TEST_CASE("the hooks see what they are to see") {
    hot_path::start_counting();
    void* memory = ::operator new(100);
    void* aligned = ::operator new (100, std::align_val_t{64});
    std::mutex mutex;
    mutex.lock();
    mutex.unlock();
    const hot_path::Counts two = hot_path::stop_counting();
    ::operator delete(memory);
    ::operator delete (aligned, std::align_val_t{64});
    CHECK(two.allocations == 2);
    CHECK(two.locks == 1);
    CHECK(two.exceptions == 0);
    hot_path::start_counting();
    bool caught = false;
    try {
        throw 1;
    } catch (int) {
        caught = true;
    }
    const hot_path::Counts thrown = hot_path::stop_counting();
    CHECK(caught);
    CHECK(thrown.exceptions == 1);
}

TEST_CASE("100,000 reads and writes allocate, lock, log and throw nothing") {
    const auto policy = GENERATE(disk::Policy::discard, disk::Policy::keep);
    auto lines = std::make_shared<LineCounter>();
    auto logger = std::make_shared<spdlog::logger>("count", lines);
    logger->set_level(spdlog::level::trace);
    const auto before = spdlog::default_logger();
    spdlog::set_default_logger(logger);

    disk::test::TemporaryFolder folder{"/dev/shm"};
    disk::test::Loop loop;
    DiskBytes expected = disk::test::random_bytes(kDepth * kPartSectors * kSector, 1);
    disk::LinkDiskOptions options;
    options.version = std::make_shared<disk::test::FileVersion>(folder / "pack", expected);
    options.policy = policy;
    options.folder = folder / "overlay";
    options.reserve_bytes = 0;
    {
        const std::shared_ptr<disk::LinkDisk> disk = disk::test::open_ok(loop, options);
        OneLink link(disk);
        Initiator initiator(link, expected);
        // Warm-up: pools and maps grow to what they need, reads see the version's own blocks too.
        for (int i = 0; i < 200; ++i) initiator.round();
        initiator.everything();
        for (int i = 0; i < 200; ++i) initiator.round();
        REQUIRE(initiator.good());
        const std::uint64_t lines_before = lines->lines;
        const std::uint64_t commands_before = initiator.commands();

        hot_path::start_counting();
        while (initiator.commands() - commands_before < 100'000) initiator.round();
        const hot_path::Counts counts = hot_path::stop_counting();

        CHECK(initiator.good());
        CHECK(counts.allocations == 0);
        CHECK(counts.locks == 0);
        CHECK(counts.exceptions == 0);
        CHECK(lines->lines == lines_before);
        disk->close();
    }
    spdlog::set_default_logger(before);
}
