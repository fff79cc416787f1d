// A portal on real sockets, and what talks to it over loopback: libiscsi and bare connections.
#pragma once

#include <arpa/inet.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>
#include <functional>
#include <thread>

#include "target/iscsi/portal.hpp"
#include "target/iscsi/socket_address.hpp"
#include "target/reactor/reactor.hpp"
#include "tests/unit/iscsi/world.hpp"

namespace goldlink::iscsi::test {

inline bool eventually(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!condition()) {
        if (std::chrono::steady_clock::now() > deadline) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
}

struct Server {
    explicit Server(PortalOptions options = {}, unsigned reactor_count = 1) {
        std::vector<reactor::Reactor*> pointers;
        for (unsigned i = 0; i < reactor_count; ++i) {
            reactors.push_back(std::make_unique<reactor::Reactor>(i, -1));
            reactors.back()->start();
            pointers.push_back(reactors.back().get());
        }
        portals = std::make_unique<PortalSet>(pointers, world, options);
        REQUIRE(portals->listen("127.0.0.1:0"));
        address = portals->addresses().at(0);
    }
    ~Server() {
        portals.reset();
        for (auto& reactor : reactors) reactor->stop();
    }

    World world;
    std::vector<std::unique_ptr<reactor::Reactor>> reactors;
    std::unique_ptr<PortalSet> portals;
    std::string address;
};

struct Initiator {
    explicit Initiator(const Server& server, bool digests = false)
        : context(iscsi_create_context("iqn.1993-08.org.debian:01:portal-test")) {
        iscsi_set_targetname(context, std::string(World::kTarget).c_str());
        iscsi_set_session_type(context, ISCSI_SESSION_NORMAL);
        iscsi_set_header_digest(context,
                                digests ? ISCSI_HEADER_DIGEST_CRC32C : ISCSI_HEADER_DIGEST_NONE);
        iscsi_set_noautoreconnect(context, 1);
        iscsi_set_timeout(context, 10);
        connected = iscsi_full_connect_sync(context, server.address.c_str(), 0) == 0;
    }
    ~Initiator() { iscsi_destroy_context(context); }
    Initiator(const Initiator&) = delete;
    Initiator& operator=(const Initiator&) = delete;

    bool write(std::uint32_t lba, ByteVector data) {
        scsi_task* task =
            iscsi_write10_sync(context, 0, lba, data.data(),
                               static_cast<std::uint32_t>(data.size()), 512, 0, 0, 0, 0, 0);
        const bool good = task != nullptr && task->status == SCSI_STATUS_GOOD;
        if (task != nullptr) scsi_free_scsi_task(task);
        return good;
    }
    ByteVector read(std::uint32_t lba, std::uint32_t bytes) {
        scsi_task* task = iscsi_read10_sync(context, 0, lba, bytes, 512, 0, 0, 0, 0, 0);
        ByteVector data;
        if (task != nullptr && task->status == SCSI_STATUS_GOOD)
            data.assign(task->datain.data, task->datain.data + task->datain.size);
        if (task != nullptr) scsi_free_scsi_task(task);
        return data;
    }

    iscsi_context* context;
    bool connected = false;
};

// A bare TCP connection.
struct Raw {
    explicit Raw(const Server& server) {
        auto to = SocketAddress::parse(server.address);
        REQUIRE(to);
        socket = FileDescriptor(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        REQUIRE(::connect(socket.get(), to->get(), to->length) == 0);
    }
    void send(const ByteVector& bytes) {
        REQUIRE(::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
                static_cast<ssize_t>(bytes.size()));
    }
    bool readable() const {
        pollfd wait{socket.get(), POLLIN, 0};
        return ::poll(&wait, 1, 0) == 1;
    }
    // Everything until the target closes.
    ByteVector read_all() {
        ByteVector all;
        for (;;) {
            pollfd wait{socket.get(), POLLIN, 0};
            REQUIRE(::poll(&wait, 1, 10'000) == 1);
            std::array<std::uint8_t, 4096> chunk{};
            const ssize_t got = ::recv(socket.get(), chunk.data(), chunk.size(), 0);
            if (got <= 0) return all;
            all.insert(all.end(), chunk.begin(), chunk.begin() + got);
        }
    }
    FileDescriptor socket;
};

inline ByteVector login_bytes(const Peer& writer) {
    Request login(Opcode::login, 0x87);
    login.immediate().with(
        pairs({"InitiatorName=iqn.a:b", "TargetName=iqn.2026-11.io.goldlink:pc-001",
               "MaxRecvDataSegmentLength=65536"}));
    login.writer.be32(24, writer.cmd_sn);
    return writer.encode(login);
}

}  // namespace goldlink::iscsi::test
