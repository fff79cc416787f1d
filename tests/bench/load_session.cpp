#include "tests/bench/load_session.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <charconv>

#include "tests/bench/light_socket.hpp"

namespace goldlink::bench {
namespace {

constexpr std::uint32_t kNoTag = 0xFFFFFFFF;
constexpr std::uint32_t kMaxSegmentBytes = 262144;  // what we offer for every length key

}  // namespace

Session::Session(Load& load, unsigned index)
    : load_(load), index_(index), slots_(load.options.depth) {
    // Every PDU queued for sending points at its header here. A command has at most one PDU per
    // 8 KiB in flight (the smallest segment a target may declare is less, but none does).
    const std::size_t per_command = 2 + load.options.block_bytes / 8192;
    headers_.resize(std::bit_ceil(load.options.depth * per_command + 8));
    const std::uint64_t blocks = load.options.set_bytes / load.options.block_bytes;
    position_ = blocks / load.options.sessions * index;
}

Session::~Session() {
    if (fd_ >= 0) close(fd_);
}

void Session::send_all(Bytes bytes) {
    while (!bytes.empty()) {
        const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent <= 0) die("the target closed the connection during login");
        bytes = bytes.subspan(static_cast<std::size_t>(sent));
    }
}

void Session::receive_all(std::uint8_t* to, std::size_t count) {
    while (count > 0) {
        const ssize_t got = recv(fd_, to, count, 0);
        if (got <= 0) die("the target closed the connection during login");
        to += got;
        count -= static_cast<std::size_t>(got);
    }
}

std::map<std::string, std::string> Session::exchange_login(int stage, int next_stage,
                                                           const std::string& text) {
    std::array<std::uint8_t, kHeaderBytes> header{};
    header[0] = 0x43;
    header[1] = static_cast<std::uint8_t>(0x80 | (stage << 2) | next_stage);
    store_be24(&header[5], static_cast<std::uint32_t>(text.size()));
    header[8] = 0x80;  // ISID, random format, one a session
    store_be32(&header[10], index_ + 1);
    store_be32(&header[24], cmd_sn_);
    store_be32(&header[28], exp_stat_sn_);
    std::string padded = text;
    padded.resize((text.size() + 3) / 4 * 4, '\0');
    send_all(header);
    send_all(as_bytes(padded));
    receive_all(header.data(), header.size());
    std::string answer((std::size_t{load_be24(&header[5])} + 3) / 4 * 4, '\0');
    receive_all(reinterpret_cast<std::uint8_t*>(answer.data()), answer.size());
    if ((header[0] & 0x3F) != 0x23) die(fmt::format("login answered with opcode {:#x}", header[0]));
    if (load_be16(&header[36]) != 0)
        die(fmt::format("login refused with status {:#06x}", load_be16(&header[36])));
    exp_stat_sn_ = load_be32(&header[24]) + 1;
    max_cmd_sn_ = load_be32(&header[32]);
    std::map<std::string, std::string> keys;
    for (std::size_t at = 0; at < answer.size();) {
        const std::string pair = answer.c_str() + at;
        at += pair.size() + 1;
        if (const std::size_t equals = pair.find('='); equals != std::string::npos)
            keys[pair.substr(0, equals)] = pair.substr(equals + 1);
    }
    return keys;
}

void Session::connect() {
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(load_.options.port);
    if (inet_pton(AF_INET, load_.options.address.c_str(), &to.sin_addr) != 1) die("bad address");
    if (::connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0)
        die(fmt::format("cannot connect to {}:{}", load_.options.address, load_.options.port));
    const int on = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    set_congestion_control(fd_);
    if (load_.options.bare) {
        first_burst_ = target_segment_ = kMaxSegmentBytes;
        max_cmd_sn_ = cmd_sn_ + kMaxDepth;
    }
}

void Session::log_in() {
    using namespace std::string_literals;
    exchange_login(0, 1,
                   fmt::format("InitiatorName=iqn.2026-11.io.goldlink:bench-{}", index_) + "\0"s +
                       "SessionType=Normal\0TargetName="s + load_.options.target +
                       "\0AuthMethod=None\0"s);
    const auto keys =
        exchange_login(1, 3,
                       fmt::format("MaxRecvDataSegmentLength={0}", kMaxSegmentBytes) + "\0"s +
                           fmt::format("MaxBurstLength={0}", kMaxSegmentBytes) + "\0"s +
                           fmt::format("FirstBurstLength={0}", kMaxSegmentBytes) + "\0"s +
                           "InitialR2T=No\0ImmediateData=Yes\0HeaderDigest=None\0DataDigest=None\0"s
                           "MaxOutstandingR2T=1\0MaxConnections=1\0ErrorRecoveryLevel=0\0"s
                           "DataPDUInOrder=Yes\0DataSequenceInOrder=Yes\0DefaultTime2Wait=2\0"s
                           "DefaultTime2Retain=0\0"s);
    const auto number = [&](const char* key, std::uint32_t otherwise) {
        const auto it = keys.find(key);
        std::uint32_t value = otherwise;
        if (it != keys.end())
            std::from_chars(it->second.data(), it->second.data() + it->second.size(), value);
        return value;
    };
    const auto yes = [&](const char* key, bool otherwise) {
        const auto it = keys.find(key);
        return it == keys.end() ? otherwise : it->second == "Yes";
    };
    first_burst_ = number("FirstBurstLength", 65536);
    target_segment_ = std::min(number("MaxRecvDataSegmentLength", 8192), kMaxSegmentBytes);
    immediate_data_ = yes("ImmediateData", true);
    initial_r2t_ = yes("InitialR2T", true);
    if (target_segment_ < 512) die("the target declares segments of under 512 bytes");
}

void Session::make_ready() {
    constexpr int kMaxAttentions = 8;
    for (int i = 0; i < kMaxAttentions; ++i) {
        std::array<std::uint8_t, kHeaderBytes> header{};
        header[0] = 0x01;
        header[1] = 0x81;  // final, simple
        header[9] = load_.options.lun;
        store_be32(&header[16], 0);
        store_be32(&header[24], cmd_sn_++);
        store_be32(&header[28], exp_stat_sn_);
        send_all(header);
        receive_all(header.data(), header.size());
        std::vector<std::uint8_t> sense((load_be24(&header[5]) + 3u) / 4 * 4);
        receive_all(sense.data(), sense.size());
        if ((header[0] & 0x3F) != 0x21) die("TEST UNIT READY was not answered by a SCSI response");
        exp_stat_sn_ = load_be32(&header[24]) + 1;
        note_window(header.data());
        if (header[2] == 0 && header[3] == 0) return;
    }
    die("the unit does not get ready");
}

void Session::issue_all() {
    for (std::uint32_t slot = 0; slot < slots_.size(); ++slot)
        if (!slots_[slot].busy) issue(slot);
    flush();
}

void Session::issue(std::uint32_t slot) {
    const Options& options = load_.options;
    if (!load_.issuing) return;
    if (static_cast<std::int32_t>(max_cmd_sn_ - cmd_sn_) < 0) {
        held_back_.push_back(slot);
        return;
    }
    const std::uint64_t blocks = options.set_bytes / options.block_bytes;
    const std::uint64_t block =
        options.sequential ? position_++ % blocks : load_.next_random() % blocks;
    const bool write =
        options.write_percent != 0 &&
        (options.write_percent == 100 || load_.next_random() % 100 < options.write_percent);
    slots_[slot] = {load_.batch_time_ns, true, write};
    ++in_flight_;

    const std::uint32_t length = options.block_bytes;
    const std::uint32_t immediate =
        write && immediate_data_ ? std::min({length, first_burst_, target_segment_}) : 0;
    const std::uint32_t unsolicited =
        write && !initial_r2t_ ? std::min(length, first_burst_) : immediate;
    std::uint8_t* header = new_header();
    header[0] = 0x01;
    const bool final = unsolicited == immediate;
    header[1] = static_cast<std::uint8_t>((final ? 0x80 : 0) | (write ? 0x20 : 0x40) | 0x01);
    store_be24(header + 5, immediate);
    header[9] = options.lun;
    store_be32(header + 16, slot);
    store_be32(header + 20, length);
    store_be32(header + 24, cmd_sn_++);
    store_be32(header + 28, exp_stat_sn_);
    header[32] = write ? 0x8A : 0x88;
    store_be64(header + 34, block * length / 512);
    store_be32(header + 42, length / 512);
    queue(header, kHeaderBytes);
    if (immediate != 0) queue(load_.data_out.data(), immediate);
    if (unsolicited > immediate) queue_data_out(slot, kNoTag, immediate, unsolicited - immediate);
}

void Session::queue_data_out(std::uint32_t slot, std::uint32_t transfer_tag, std::uint32_t offset,
                             std::uint32_t length) {
    for (std::uint32_t data_sn = 0; length > 0; ++data_sn) {
        const std::uint32_t piece = std::min(length, target_segment_);
        std::uint8_t* header = new_header();
        header[0] = 0x05;
        header[1] = piece == length ? 0x80 : 0x00;
        store_be24(header + 5, piece);
        header[9] = load_.options.lun;
        store_be32(header + 16, slot);
        store_be32(header + 20, transfer_tag);
        store_be32(header + 28, exp_stat_sn_);
        store_be32(header + 36, data_sn);
        store_be32(header + 40, offset);
        queue(header, kHeaderBytes);
        queue(load_.data_out.data() + offset, piece);
        offset += piece;
        length -= piece;
    }
}

void Session::flush() {
    constexpr std::size_t kVectorsAtOnce = 256;
    while (sent_ < queue_.size()) {
        msghdr message{};
        message.msg_iov = &queue_[sent_];
        message.msg_iovlen = std::min(queue_.size() - sent_, kVectorsAtOnce);
        const ssize_t sent = sendmsg(fd_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (sent <= 0) die("the target closed the connection");
        for (auto left = static_cast<std::size_t>(sent); left > 0;) {
            iovec& first = queue_[sent_];
            const std::size_t taken = std::min(left, first.iov_len);
            first.iov_base = static_cast<std::uint8_t*>(first.iov_base) + taken;
            first.iov_len -= taken;
            left -= taken;
            if (first.iov_len == 0) ++sent_;
        }
    }
    queue_.clear();
    sent_ = 0;
}

void Session::on_finished(std::uint32_t slot) {
    if (slot >= slots_.size() || !slots_[slot].busy) die("a response for no command of ours");
    slots_[slot].busy = false;
    --in_flight_;
    ++load_.totals.operations;
    load_.totals.bytes += load_.options.block_bytes;
    load_.totals.latency.add(load_.batch_time_ns - slots_[slot].started_ns);
    latency_.add(load_.batch_time_ns - slots_[slot].started_ns);
    issue(slot);
    while (!held_back_.empty() && static_cast<std::int32_t>(max_cmd_sn_ - cmd_sn_) >= 0) {
        const std::uint32_t waiting = held_back_.back();
        held_back_.pop_back();
        issue(waiting);
    }
}

void Session::on_header(const std::uint8_t* header) {
    constexpr std::uint8_t kDataIn = 0x25, kResponse = 0x21, kReadyToTransfer = 0x31, kNopIn = 0x20;
    const std::uint32_t slot = load_be32(header + 16);
    switch (header[0] & 0x3F) {
        case kDataIn: {
            const bool has_status = (header[1] & 0x01) != 0;
            if (!has_status) return;
            if (header[3] != 0) die(fmt::format("a read ended with status {:#x}", header[3]));
            exp_stat_sn_ = load_be32(header + 24) + 1;
            note_window(header);
            return on_finished(slot);
        }
        case kResponse:
            if (header[2] != 0 || header[3] != 0)
                die(fmt::format("a command ended with response {:#x}, status {:#x}", header[2],
                                header[3]));
            exp_stat_sn_ = load_be32(header + 24) + 1;
            note_window(header);
            return on_finished(slot);
        case kReadyToTransfer:
            if (slot >= slots_.size() || !slots_[slot].write) die("an R2T for no write of ours");
            return queue_data_out(slot, load_be32(header + 20), load_be32(header + 40),
                                  load_be32(header + 44));
        case kNopIn:
            note_window(header);
            return;
        default:
            die(fmt::format("unexpected PDU with opcode {:#x}", header[0]));
    }
}

void Session::receive() {
    const ssize_t got = recv(fd_, load_.received.data(), load_.received.size(), MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) die("the target closed the connection");
    Bytes rest(load_.received.data(), static_cast<std::size_t>(got));
    while (!rest.empty()) {
        if (skip_ > 0) {
            const std::size_t dropped = std::min(skip_, rest.size());
            skip_ -= dropped;
            rest = rest.subspan(dropped);
            continue;
        }
        const std::uint8_t* header = rest.data();
        std::size_t taken = kHeaderBytes;
        if (partial_bytes_ > 0 || rest.size() < kHeaderBytes) {
            taken = std::min(kHeaderBytes - partial_bytes_, rest.size());
            std::copy_n(rest.data(), taken, partial_.data() + partial_bytes_);
            partial_bytes_ += taken;
            header = partial_.data();
        }
        rest = rest.subspan(taken);
        if (partial_bytes_ > 0) {
            if (partial_bytes_ < kHeaderBytes) return;
            partial_bytes_ = 0;
        }
        skip_ = (std::size_t{load_be24(header + 5)} + 3) / 4 * 4 + std::size_t{header[4]} * 4;
        on_header(header);
    }
}

}  // namespace goldlink::bench
