#include "tests/fuzz/iscsi/fuzz_world.hpp"

#include <algorithm>
#include <utility>

#include "common/check.hpp"
#include "common/log.hpp"

namespace goldlink::iscsi::fuzz {

namespace {

class SmallDisk final : public disk::Disk {
  public:
    SmallDisk() : memory_(64 * 1024) { geometry_.size_bytes = memory_.size(); }
    const disk::Geometry& geometry() const override { return geometry_; }
    disk::Submit submit(disk::Request& request) noexcept override {
        const std::uint64_t end = request.offset_bytes + request.length_bytes;
        CHECK(end >= request.offset_bytes && end <= memory_.size(),
              "a request past the disk's end");
        std::uint8_t* at = memory_.data() + request.offset_bytes;
        if (request.operation == disk::Operation::read)
            std::memcpy(request.data, at, request.length_bytes);
        else if (request.operation == disk::Operation::write)
            std::memcpy(at, request.data, request.length_bytes);
        request.outcome = disk::Outcome::ok;
        return disk::Submit::done;
    }
    disk::Extent extent_at(std::uint64_t, std::uint64_t max_bytes) const override {
        return {.length_bytes = max_bytes, .mapped = true};
    }

  private:
    disk::Geometry geometry_;
    std::vector<std::uint8_t> memory_;
};

void fixed_bytes(MutableBytes bytes) { std::fill(bytes.begin(), bytes.end(), std::uint8_t{0x5a}); }

}  // namespace

// Two small disks of one device, which copies between them; its tokens can be guessed.
struct World::Link final : LinkEndpoint {
    explicit Link(const std::string& iqn)
        : device(iqn,
                 {{0, {.serial = {}, .naa = 1}, std::make_shared<SmallDisk>()},
                  {1, {.serial = {}, .naa = 2}, std::make_shared<SmallDisk>()}},
                 {[this] { woken = true; }, [] { return std::uint64_t{0}; }, &fixed_bytes}) {}
    scsi::Device* session_started(const SessionInfo&, SessionControl&) override { return &device; }
    void session_ended(SessionControl&, SessionEnd) override {}
    void first_write(SessionControl&) override {}
    void run_background() {
        while (std::exchange(woken, false)) device.run_background();
    }
    bool woken = false;
    scsi::Device device;
};

void World::run_background() {
    for (const auto& [iqn, link] : links_) link->run_background();
}

World::World() : environment(*this, &fixed_bytes, 0) {
    log::set_level(log::level::off);
    for (const char* iqn : {"iqn.a:open", "iqn.a:chap"}) {
        links_[iqn] = std::make_unique<Link>(iqn);
        auto entry = std::make_shared<TargetEntry>();
        entry->iqn = iqn;
        entry->endpoint = links_[iqn].get();
        entries_[iqn] = entry;
    }
    entries_["iqn.a:chap"]->credentials = {
        {"user", "secret-of-twelve", "t", "mutual-secret-99", 0}};
}

World::~World() = default;

std::shared_ptr<const TargetEntry> World::find_target(std::string_view iqn) const {
    const auto found = entries_.find(iqn);
    return found == entries_.end() ? nullptr : found->second;
}

std::vector<std::shared_ptr<const TargetEntry>> World::list_targets(std::string_view) const {
    std::vector<std::shared_ptr<const TargetEntry>> all;
    for (const auto& [iqn, entry] : entries_) all.push_back(entry);
    return all;
}

void run(World& world, Connection& connection, Bytes bytes, std::size_t piece) {
    OutputQueue& output = connection.output();
    std::uint64_t now_ms = 0;
    while (!bytes.empty() && !connection.closing()) {
        Bytes now = bytes.first(std::min(piece, bytes.size()));
        const MutableBytes direct = connection.direct_space();
        const std::size_t placed = std::min(direct.size(), now.size());
        if (placed > 0) std::memcpy(direct.data(), now.data(), placed);
        connection.direct_received(placed);
        const std::size_t used = placed + connection.consume(now.subspan(placed));
        CHECK(used > 0 || connection.closing() || connection.input_paused(), "the stream is stuck");
        bytes = bytes.subspan(used);
        while (!output.empty()) {
            std::array<iovec, 16> vectors{};
            const std::size_t count = output.gather(vectors.data(), vectors.size());
            std::size_t total = 0;
            for (std::size_t i = 0; i < count; ++i) total += vectors[i].iov_len;
            CHECK(total > 0 && total <= output.queued_bytes(), "output that does not add up");
            output.sent(total);
        }
        connection.tick(now_ms += 1'000);
        world.run_background();
    }
}

void finish(World& world, std::unique_ptr<Connection> connection) {
    connection->transport_lost(SessionEnd::connection_lost);
    connection->output().clear();
    world.run_background();
    CHECK(connection->finished(), "a connection with an inline disk has work left");
    connection.reset();
    CHECK(world.environment.buffers.out_bytes() == 0, "a buffer leaks");
    CHECK(world.environment.sessions.size() == 0, "a session leaks");
}

std::vector<std::uint8_t> login_request(bool digests) {
    std::string text;
    append_pair(text, "InitiatorName", "iqn.a:fuzzer");
    append_pair(text, "TargetName", "iqn.a:open");
    append_pair(text, "InitialR2T", "No");
    append_pair(text, "MaxBurstLength", "4096");
    append_pair(text, "FirstBurstLength", "2048");
    append_pair(text, "MaxOutstandingR2T", "2");
    if (digests) append_pair(text, "DataDigest", "CRC32C");
    std::vector<std::uint8_t> bytes(kBhsBytes);
    BhsWriter(bytes.data(), Opcode::login, 0x87)
        .data_length(static_cast<std::uint32_t>(text.size()))
        .be32(24, 1);
    bytes[0] |= 0x40;
    bytes.insert(bytes.end(), text.begin(), text.end());
    bytes.resize(padded(bytes.size()));
    return bytes;
}

}  // namespace goldlink::iscsi::fuzz
