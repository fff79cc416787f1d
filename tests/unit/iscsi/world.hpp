// What the session tests talk to: an initiator that speaks bytes (Peer), targets over memory disks
// whose requests can be held back (World), and the PDUs that came back (Reply).
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "target/iscsi/connection.hpp"

namespace goldlink::iscsi::test {

using ByteVector = std::vector<std::uint8_t>;

class MemoryDisk final : public disk::Disk {
  public:
    explicit MemoryDisk(std::size_t size_bytes) : memory(size_bytes) {
        geometry_.size_bytes = size_bytes;
    }
    const disk::Geometry& geometry() const override { return geometry_; }
    disk::Submit submit(disk::Request& request) noexcept override;
    disk::Extent extent_at(std::uint64_t, std::uint64_t max_bytes) const override {
        return {.length_bytes = max_bytes, .mapped = true};
    }
    void complete_held();

    ByteVector memory;
    std::uint32_t lent_run_bytes = 0;  // not 0: reads that may be lent are, in runs of this size
    bool hold = false;                 // requests stay pending until complete_held()
    std::vector<disk::Request*> held;

  private:
    void run(disk::Request& request);
    disk::Geometry geometry_;
};

struct Link final : LinkEndpoint {
    Link(const std::string& iqn, std::size_t size_bytes);

    scsi::Device* session_started(const SessionInfo& info, SessionControl& control) override;
    void session_ended(SessionControl& control, SessionEnd why) override;
    void first_write(SessionControl&) override { ++first_writes; }

    std::shared_ptr<MemoryDisk> disk;
    scsi::Device device;
    bool going_away = false;
    int first_writes = 0;
    std::vector<SessionInfo> started;
    std::vector<SessionEnd> ended;
    std::vector<SessionControl*> live;
};

class World final : public Directory {
  public:
    static constexpr std::string_view kTarget = "iqn.2026-11.io.goldlink:pc-001";

    World();

    Link& link(std::string_view iqn = kTarget) { return *links_.at(std::string(iqn)); }
    TargetEntry& entry(std::string_view iqn = kTarget) { return *entries_.at(std::string(iqn)); }
    void add_target(const std::string& iqn);

    std::shared_ptr<const TargetEntry> find_target(std::string_view iqn) const override;
    std::vector<std::shared_ptr<const TargetEntry>> list_targets(
        std::string_view initiator_name) const override;
    void login_refused(std::string_view iqn, std::string_view initiator_name,
                       std::string_view address, std::string_view why) override;

    std::vector<std::string> refusals;
    Environment environment;

  private:
    std::map<std::string, std::unique_ptr<Link>> links_;
    std::map<std::string, std::shared_ptr<TargetEntry>> entries_;
};

struct Reply {
    std::array<std::uint8_t, kBhsBytes> header{};
    ByteVector data;

    Bhs bhs() const { return Bhs(header.data()); }
    Opcode opcode() const { return bhs().opcode(); }
    std::uint8_t flags() const { return header[1]; }
    std::uint8_t byte(std::size_t offset) const { return header[offset]; }
    std::uint32_t be32(std::size_t offset) const { return load_be32(header.data() + offset); }
    std::uint16_t login_status() const { return load_be16(header.data() + 36); }
    std::string_view text() const { return as_text(data); }
    // The value of a key in a text segment.
    std::optional<std::string> value(std::string_view key) const;
};

// A PDU from the initiator.
struct Request {
    Request(Opcode opcode, std::uint8_t flags) : writer(header.data(), opcode, flags) {}
    Request(const Request&) = delete;
    Request& operator=(const Request&) = delete;

    std::uint32_t cmd_sn() const { return Bhs(header.data()).cmd_sn(); }
    Request& immediate() { return header[0] |= 0x40, *this; }
    Request& with(ByteVector bytes) { return data = std::move(bytes), *this; }
    Request& with(std::string_view text) { return data.assign(text.begin(), text.end()), *this; }

    std::array<std::uint8_t, kBhsBytes> header{};
    BhsWriter writer;  // of header
    ByteVector ahs;
    ByteVector data;
};

std::string pairs(std::initializer_list<std::string_view> lines);  // each ended by a zero byte
ByteVector pattern(std::size_t bytes, std::uint8_t seed = 1);
std::array<std::uint8_t, 16> read_10(std::uint32_t lba, std::uint16_t blocks);
std::array<std::uint8_t, 16> write_10(std::uint32_t lba, std::uint16_t blocks);

class Peer final : public Transport {
  public:
    explicit Peer(World& world, std::string initiator = "iqn.1993-08.org.debian:01:test");
    ~Peer() override;

    // Sends whole PDUs; the bytes arrive in pieces of `piece_bytes` (0: all at once).
    std::vector<Reply> send(const Request& request);
    ByteVector encode(const Request& request) const;
    void deliver(Bytes bytes);
    std::vector<Reply> replies();

    // One-shot login with these operational keys; checks that it succeeded and takes the unit
    // attention of a new nexus away.
    void login(std::initializer_list<std::string_view> keys = {});
    std::vector<Reply> login_request(std::uint8_t flags, std::string_view text);

    Request& command(Request& request, std::array<std::uint8_t, 16> cdb, std::uint32_t length,
                     std::uint64_t lun = 0);
    std::vector<Reply> read(std::uint32_t lba, std::uint16_t blocks);

    void output_pending() override { ++pending; }
    void flush() override { ++flushes; }

    Connection& connection() { return *connection_; }
    void disconnect();  // and destroys the connection once it is finished
    bool gone() const { return connection_ == nullptr; }
    void destroy_if_finished();

    std::string initiator;
    std::uint64_t isid = 0x400001370000;
    std::uint16_t tsih = 0;
    std::uint16_t cid = 0;
    std::uint32_t itt = 1;
    std::uint32_t cmd_sn = 1;
    std::size_t piece_bytes = 0;
    bool clear_attention = true;
    bool header_digest = false;
    bool data_digest = false;
    int pending = 0;
    int flushes = 0;

  private:
    World& world_;
    std::unique_ptr<Connection> connection_;
};

}  // namespace goldlink::iscsi::test
