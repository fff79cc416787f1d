#include "tests/unit/iscsi/world.hpp"

#include <algorithm>
#include <catch2/catch.hpp>

#include "target/iscsi/digest.hpp"

namespace goldlink::iscsi::test {

namespace {

// Deterministic, and different at every call.
void counting_bytes(MutableBytes bytes) {
    static std::uint8_t next = 0;
    for (auto& byte : bytes) byte = ++next;
}

}  // namespace

disk::Submit MemoryDisk::submit(disk::Request& request) noexcept {
    if (hold) {
        held.push_back(&request);
        return disk::Submit::pending;
    }
    run(request);
    return disk::Submit::done;
}

void MemoryDisk::run(disk::Request& request) {
    request.outcome = disk::Outcome::ok;
    std::uint8_t* at = memory.data() + request.offset_bytes;
    if (request.may_lend && lent_run_bytes > 0)
        for (std::uint64_t done = 0; done < request.length_bytes; done += lent_run_bytes)
            request.lent.at(request.lent_count++) = {
                at + done, static_cast<std::uint32_t>(std::min<std::uint64_t>(
                               lent_run_bytes, request.length_bytes - done))};
    else if (request.operation == disk::Operation::read)
        std::memcpy(request.data, at, request.length_bytes);
    else if (request.operation == disk::Operation::write)
        std::memcpy(at, request.data, request.length_bytes);
}

void MemoryDisk::complete_held() {
    hold = false;
    for (disk::Request* request : std::exchange(held, {})) {
        run(*request);
        request->complete(*request);
    }
}

Link::Link(const std::string& iqn, std::size_t size_bytes)
    : disk(std::make_shared<MemoryDisk>(size_bytes)), device(iqn, {{0, {}, disk}}) {}

scsi::Device* Link::session_started(const SessionInfo& info, SessionControl& control) {
    if (going_away) return nullptr;
    started.push_back(info);
    live.push_back(&control);
    return &device;
}

void Link::session_ended(SessionControl& control, SessionEnd why) {
    std::erase(live, &control);
    ended.push_back(why);
}

World::World() : environment(*this, &counting_bytes, 0) { add_target(std::string(kTarget)); }

void World::add_target(const std::string& iqn) {
    constexpr std::size_t kDiskBytes = 4U << 20;
    links_[iqn] = std::make_unique<Link>(iqn, kDiskBytes);
    auto entry = std::make_shared<TargetEntry>();
    entry->iqn = iqn;
    entry->endpoint = links_[iqn].get();
    entries_[iqn] = entry;
}

std::shared_ptr<const TargetEntry> World::find_target(std::string_view iqn) const {
    const auto found = entries_.find(std::string(iqn));
    return found == entries_.end() ? nullptr : found->second;
}

std::vector<std::shared_ptr<const TargetEntry>> World::list_targets(std::string_view name) const {
    std::vector<std::shared_ptr<const TargetEntry>> all;
    for (const auto& [iqn, entry] : entries_) {
        const auto& allowed = entry->allowed_initiators;
        const auto is_this = [&](const std::string& one) { return fold_name(one) == name; };
        if (allowed.empty() || std::any_of(allowed.begin(), allowed.end(), is_this))
            all.push_back(entry);
    }
    return all;
}

void World::login_refused(std::string_view, std::string_view, std::string_view,
                          std::string_view why) {
    refusals.emplace_back(why);
}

std::optional<std::string> Reply::value(std::string_view key) const {
    const auto keys = parse_text(text());
    if (!keys) return std::nullopt;
    for (const KeyValue& pair : *keys)
        if (pair.key == key) return std::string(pair.value);
    return std::nullopt;
}

std::string pairs(std::initializer_list<std::string_view> lines) {
    std::string text;
    for (const std::string_view line : lines) {
        text.append(line);
        text.push_back('\0');
    }
    return text;
}

ByteVector pattern(std::size_t bytes, std::uint8_t seed) {
    ByteVector data(bytes);
    std::uint32_t state = seed;
    for (auto& byte : data) {
        state = state * 1664525 + 1013904223;
        byte = static_cast<std::uint8_t>(state >> 24);
    }
    return data;
}

namespace {

std::array<std::uint8_t, 16> cdb_10(std::uint8_t opcode, std::uint32_t lba, std::uint16_t blocks) {
    std::array<std::uint8_t, 16> cdb{};
    cdb[0] = opcode;
    store_be32(cdb.data() + 2, lba);
    store_be16(cdb.data() + 7, blocks);
    return cdb;
}

}  // namespace

std::array<std::uint8_t, 16> read_10(std::uint32_t lba, std::uint16_t blocks) {
    return cdb_10(0x28, lba, blocks);
}
std::array<std::uint8_t, 16> write_10(std::uint32_t lba, std::uint16_t blocks) {
    return cdb_10(0x2a, lba, blocks);
}

Peer::Peer(World& world, std::string name) : initiator(std::move(name)), world_(world) {
    connection_ = std::make_unique<Connection>(
        world.environment, *this, "10.0.0.7:41234",
        PortalAddresses{.local = "10.0.0.1:3260", .others = {"10.0.0.1:3260", "10.1.0.1:3260"}});
}

Peer::~Peer() {
    if (connection_) disconnect();
    CHECK(gone());
}

void Peer::disconnect() {
    connection_->transport_lost(SessionEnd::connection_lost);
    connection_->output().clear();
    destroy_if_finished();
}

void Peer::destroy_if_finished() {
    if (connection_ && connection_->finished()) connection_.reset();
}

ByteVector Peer::encode(const Request& request) const {
    ByteVector bytes(request.header.begin(), request.header.end());
    bytes[4] = static_cast<std::uint8_t>(request.ahs.size() / 4);
    store_be24(bytes.data() + 5, static_cast<std::uint32_t>(request.data.size()));
    bytes.insert(bytes.end(), request.ahs.begin(), request.ahs.end());
    const auto append_digest = [&](Bytes covered) {
        std::array<std::uint8_t, 4> digest{};
        store_le32(digest.data(), crc32c(covered));
        bytes.insert(bytes.end(), digest.begin(), digest.end());
    };
    if (header_digest) append_digest(ByteVector(bytes));
    if (request.data.empty()) return bytes;
    ByteVector data = request.data;
    data.resize(padded(data.size()));
    bytes.insert(bytes.end(), data.begin(), data.end());
    if (data_digest) append_digest(data);
    return bytes;
}

void Peer::deliver(Bytes bytes) {
    while (!bytes.empty() && !connection_->closing()) {
        Bytes piece =
            bytes.first(piece_bytes == 0 ? bytes.size() : std::min(piece_bytes, bytes.size()));
        bytes = bytes.subspan(piece.size());
        const MutableBytes direct = connection_->direct_space();
        const std::size_t placed = std::min(direct.size(), piece.size());
        if (placed > 0) {
            std::memcpy(direct.data(), piece.data(), placed);
            connection_->direct_received(placed);
        }
        connection_->consume(piece.subspan(placed));
    }
}

std::vector<Reply> Peer::send(const Request& request) {
    deliver(encode(request));
    return replies();
}

std::vector<Reply> Peer::replies() {
    std::vector<Reply> all;
    if (!connection_) return all;
    OutputQueue& output = connection_->output();
    ByteVector bytes;
    while (!output.empty()) {
        std::array<iovec, 7> vectors{};
        const std::size_t count = output.gather(vectors.data(), vectors.size());
        std::size_t total = 0;
        for (std::size_t i = 0; i < count; ++i) {
            const auto* data = static_cast<const std::uint8_t*>(vectors[i].iov_base);
            bytes.insert(bytes.end(), data, data + vectors[i].iov_len);
            total += vectors[i].iov_len;
        }
        output.sent(total);
    }
    for (std::size_t at = 0; at < bytes.size();) {
        REQUIRE(bytes.size() - at >= kBhsBytes);
        Reply& reply = all.emplace_back();
        std::memcpy(reply.header.data(), bytes.data() + at, kBhsBytes);
        at += kBhsBytes;
        if (header_digest) {
            REQUIRE(load_le32(bytes.data() + at) == crc32c(reply.header));
            at += kDigestBytes;
        }
        const std::size_t length = reply.bhs().data_length();
        if (length == 0) continue;
        REQUIRE(bytes.size() - at >= padded(length));
        reply.data.assign(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                          bytes.begin() + static_cast<std::ptrdiff_t>(at + length));
        if (data_digest) {
            REQUIRE(load_le32(bytes.data() + at + padded(length)) ==
                    crc32c({bytes.data() + at, padded(length)}));
            at += kDigestBytes;
        }
        at += padded(length);
    }
    return all;
}

std::vector<Reply> Peer::login_request(std::uint8_t flags, std::string_view text) {
    Request request(Opcode::login, flags);
    request.immediate().with(text);
    store_be32(request.header.data() + 8, static_cast<std::uint32_t>(isid >> 16));
    store_be16(request.header.data() + 12, static_cast<std::uint16_t>(isid));
    request.writer.be16(14, tsih).itt(itt).be16(20, cid).be32(24, cmd_sn);
    return send(request);
}

void Peer::login(std::initializer_list<std::string_view> keys) {
    std::string text = pairs({"SessionType=Normal"});
    append_pair(text, "InitiatorName", initiator);
    append_pair(text, "TargetName", World::kTarget);
    text += pairs(keys);
    const auto answers = login_request(0x87, text);  // T, operational to full feature
    REQUIRE(answers.size() == 1);
    REQUIRE(answers[0].opcode() == Opcode::login_response);
    REQUIRE(answers[0].login_status() == 0);
    REQUIRE(answers[0].flags() == 0x87);
    tsih = answers[0].bhs().tsih();
    REQUIRE(tsih != 0);
    header_digest = answers[0].value("HeaderDigest") == "CRC32C";
    data_digest = answers[0].value("DataDigest") == "CRC32C";
    if (clear_attention) {
        Request test_unit_ready(Opcode::scsi_command, kFinal | 1);
        REQUIRE(send(command(test_unit_ready, {}, 0)).size() == 1);
    }
}

Request& Peer::command(Request& request, std::array<std::uint8_t, 16> cdb, std::uint32_t length,
                       std::uint64_t lun) {
    request.writer.lun(lun).itt(++itt).be32(20, length).be32(24, cmd_sn++);
    std::memcpy(request.header.data() + 32, cdb.data(), cdb.size());
    return request;
}

std::vector<Reply> Peer::read(std::uint32_t lba, std::uint16_t blocks) {
    Request request(Opcode::scsi_command, kFinal | kCommandRead | 1);
    return send(command(request, read_10(lba, blocks), blocks * 512U));
}

}  // namespace goldlink::iscsi::test
