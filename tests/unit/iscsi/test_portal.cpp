// The portal on real sockets: libiscsi and raw connections over loopback.
#include "tests/unit/iscsi/portal_rig.hpp"

using namespace goldlink;
using namespace goldlink::iscsi;
using namespace goldlink::iscsi::test;

TEST_CASE("libiscsi reads what it wrote, with and without digests") {
    Server server;
    for (const bool digests : {false, true}) {
        Initiator initiator(server, digests);
        REQUIRE(initiator.connected);
        CHECK(server.portals->session_count() == 1);
        for (const std::size_t bytes : {512UL, 4096UL, 65536UL, 1048576UL}) {
            const auto data = pattern(bytes, digests ? 3 : 5);
            REQUIRE(initiator.write(16, data));
            CHECK(initiator.read(16, static_cast<std::uint32_t>(bytes)) == data);
        }
        CHECK(iscsi_logout_sync(initiator.context) == 0);
        CHECK(eventually([&] { return server.portals->session_count() == 0; }));
    }
    const auto counters = server.portals->counters();
    REQUIRE(counters.size() == 1);
    CHECK(counters[0].logins == 2);
    CHECK(counters[0].data_out_bytes == 2 * (512 + 4096 + 65536 + 1048576));
    CHECK(counters[0].connections_accepted == 2);
    CHECK(counters[0].rejects == 0);
}

TEST_CASE("a session lives on its link's reactor") {
    Server server({}, 3);
    server.world.entry().reactor = 2;
    Initiator initiator(server);
    REQUIRE(initiator.connected);
    const auto counters = server.portals->counters();
    REQUIRE(counters.size() == 3);
    CHECK(counters[0].sessions == 0);
    CHECK(counters[2].sessions == 1);
    CHECK(initiator.read(0, 4096).size() == 4096);
}

TEST_CASE("a login in pieces reaches its link's reactor, wherever the name is") {
    Server server({}, 3);
    server.world.entry().reactor = 2;
    const std::string text =
        pairs({"InitiatorName=iqn.a:b", "TargetName=iqn.2026-11.io.goldlink:pc-001"});
    // Cut within the name of the target, and before it, and into single bytes at the end.
    for (const std::size_t cut : {30UL, 10UL, text.size() - 3}) {
        Peer writer(server.world);
        Raw raw(server);
        const auto request = [&](std::uint8_t flags, std::string_view piece) {
            Request login(Opcode::login, flags);
            login.immediate().with(piece);
            login.writer.be32(24, writer.cmd_sn).itt(5);
            return writer.encode(login);
        };
        raw.send(request(0x44, std::string_view(text).substr(0, cut)));
        CHECK(eventually([&] { return raw.readable(); }));
        for (std::size_t at = cut; at + 1 < text.size(); at += text.size() / 4)
            raw.send(request(0x44, std::string_view(text).substr(
                                       at, std::min(text.size() / 4, text.size() - 1 - at))));
        raw.send(request(0x87, std::string_view(text).substr(text.size() - 1)));
        CHECK(eventually([&] { return server.portals->counters()[2].sessions == 1; }));
        ::shutdown(raw.socket.get(), SHUT_WR);
        const auto answers = raw.read_all();
        REQUIRE(answers.size() % 4 == 0);
        std::uint32_t stat_sn = 1;
        std::size_t at = 0;
        for (; at < answers.size(); ++stat_sn) {
            const std::uint8_t* header = answers.data() + at;
            const Bhs bhs(header);
            CHECK(bhs.opcode() == Opcode::login_response);
            CHECK(load_be32(header + 24) == stat_sn);
            CHECK(load_be16(header + 36) == 0);
            at += kBhsBytes + padded(bhs.data_length());
            CHECK(header[1] == (at < answers.size() ? 0x04 : 0x87));
        }
        CHECK(at == answers.size());
        CHECK(stat_sn >= 3);
        CHECK(eventually([&] { return server.portals->session_count() == 0; }));
    }
}

TEST_CASE("login text without an end is bounded before the reactor is known, too") {
    Server server;
    Peer writer(server.world);
    Raw raw(server);
    Request login(Opcode::login, 0x44);
    login.immediate().with(std::string(8000, 'x'));
    const auto request = writer.encode(login);
    for (int i = 0; i < 9; ++i) raw.send(request);
    const auto answers = raw.read_all();
    REQUIRE(answers.size() == 9 * kBhsBytes);
    CHECK(load_be16(answers.data() + 8 * kBhsBytes + 36) == 0x0200);
}

TEST_CASE("discovery over a socket names target and portal") {
    Server server;
    iscsi_context* context = iscsi_create_context("iqn.1993-08.org.debian:01:finder");
    iscsi_set_session_type(context, ISCSI_SESSION_DISCOVERY);
    REQUIRE(iscsi_connect_sync(context, server.address.c_str()) == 0);
    REQUIRE(iscsi_login_sync(context) == 0);
    iscsi_discovery_address* found = iscsi_discovery_sync(context);
    REQUIRE(found != nullptr);
    CHECK(std::string(found->target_name) == World::kTarget);
    CHECK(std::string(found->portals->portal) == server.address + ",1");
    CHECK(found->next == nullptr);
    iscsi_free_discovery_data(context, found);
    iscsi_logout_sync(context);
    iscsi_destroy_context(context);
}

// iscsi-ls with a link's own URL offers "CHAP,None" for discovery too and takes None for an error.
TEST_CASE("discovery with CHAP shows what the credential opens") {
    Server server;
    server.world.entry().credentials = {{"alice", "secret-of-alice", "", "", 0}};
    server.world.add_target("iqn.2026-11.io.goldlink:pc-002");
    server.world.entry("iqn.2026-11.io.goldlink:pc-002").credentials = {
        {"bob", "secret-of-bobby", "", "", 0}};
    const auto discover = [&](const char* user, const char* secret) {
        std::vector<std::string> names;
        iscsi_context* context = iscsi_create_context("iqn.1993-08.org.debian:01:finder");
        iscsi_set_session_type(context, ISCSI_SESSION_DISCOVERY);
        iscsi_set_initiator_username_pwd(context, user, secret);
        REQUIRE(iscsi_connect_sync(context, server.address.c_str()) == 0);
        if (iscsi_login_sync(context) == 0) {
            iscsi_discovery_address* found = iscsi_discovery_sync(context);
            for (const auto* each = found; each != nullptr; each = each->next)
                names.emplace_back(each->target_name);
            iscsi_free_discovery_data(context, found);
            iscsi_logout_sync(context);
        } else {
            names.emplace_back("refused");
        }
        iscsi_destroy_context(context);
        return names;
    };
    CHECK(discover("alice", "secret-of-alice") ==
          std::vector<std::string>{std::string(World::kTarget)});
    CHECK(discover("bob", "secret-of-bobby") ==
          std::vector<std::string>{"iqn.2026-11.io.goldlink:pc-002"});
    CHECK(discover("bob", "secret-of-alice") == std::vector<std::string>{"refused"});
    CHECK(discover("mallory", "secret-of-alice") == std::vector<std::string>{"refused"});
}

TEST_CASE("libiscsi reads what a disk lends, copied and not, at any length") {
    Server server;
    server.world.link().disk->lent_run_bytes = 65536;
    for (const bool digests : {false, true}) {
        Initiator initiator(server, digests);
        REQUIRE(initiator.connected);
        for (const std::size_t bytes : {512UL, 15872UL, 16384UL, 65536UL, 66048UL, 524288UL}) {
            const auto data = pattern(bytes, digests ? 3 : 5);
            REQUIRE(initiator.write(16, data));
            CHECK(initiator.read(16, static_cast<std::uint32_t>(bytes)) == data);
        }
        CHECK(iscsi_logout_sync(initiator.context) == 0);
    }
}

TEST_CASE("a dropped peer gets nothing more of what a disk had lent") {
    PortalOptions options;
    options.stall_timeout_ms = 300;
    Server server(options);
    server.world.link().disk->lent_run_bytes = 65536;
    Peer writer(server.world);
    Raw raw(server);
    raw.send(login_bytes(writer));
    CHECK(eventually([&] { return server.portals->session_count() == 1; }));
    constexpr std::uint32_t kReadBytes = 512 * 1024;
    constexpr std::size_t kReads = 64;  // more than the kernel's buffers take
    for (std::size_t i = 0; i < kReads; ++i) {
        Request request(Opcode::scsi_command, kFinal | kCommandRead);
        writer.command(request, read_10(0, kReadBytes / 512), kReadBytes);
        raw.send(writer.encode(request));
    }
    CHECK(eventually([&] { return server.portals->session_count() == 0; }));
    CHECK(server.portals->counters()[0].slow_readers == 1);
    std::size_t received = 0;
    ssize_t got = 0;
    ByteVector piece(1 << 20);
    while ((got = ::recv(raw.socket.get(), piece.data(), piece.size(), 0)) > 0)
        received += static_cast<std::size_t>(got);
    CHECK(got < 0);
    CHECK(errno == ECONNRESET);
    CHECK(received < kReads * kReadBytes);
}

TEST_CASE("garbage is answered and closed") {
    Server server;
    const auto answer_to = [&](const ByteVector& bytes) {
        Raw raw(server);
        raw.send(bytes);
        const auto answer = raw.read_all();
        REQUIRE(answer.size() == kBhsBytes);
        CHECK(answer[0] == 0x23);
        return load_be16(answer.data() + 36);
    };
    CHECK(answer_to(ByteVector(kBhsBytes, 0)) == 0x020b);  // a NOP-Out
    CHECK(answer_to(ByteVector(2000, 0xff)) == 0x0200);    // 16 MiB of data announced
    Initiator initiator(server);
    CHECK(initiator.connected);
}

TEST_CASE("an unknown target is refused with its status") {
    Server server;
    Raw raw(server);
    Peer writer(server.world);
    Request login(Opcode::login, 0x87);
    login.immediate().with(pairs({"InitiatorName=iqn.a:b", "TargetName=iqn.a:nobody"}));
    raw.send(writer.encode(login));
    const auto answer = raw.read_all();
    REQUIRE(answer.size() >= kBhsBytes);
    CHECK(load_be16(answer.data() + 36) == 0x0203);
}

TEST_CASE("a connection that vanishes ends its session") {
    Server server;
    {
        Initiator initiator(server);
        REQUIRE(initiator.connected);
        ::shutdown(iscsi_get_fd(initiator.context), SHUT_RDWR);
        CHECK(eventually([&] { return server.portals->session_count() == 0; }));
    }
    std::vector<SessionEnd> ended;
    server.reactors[0]->run_and_wait([&] { ended = server.world.link().ended; });
    CHECK(ended == std::vector<SessionEnd>{SessionEnd::connection_lost});
}

TEST_CASE("stopping asks for logout, then closes, and every session is ended") {
    PortalOptions options;
    options.stop_grace_ms = 50;
    Server server(options);
    Raw raw(server);
    Peer writer(server.world);
    raw.send(login_bytes(writer));
    CHECK(eventually([&] { return server.portals->session_count() == 1; }));
    server.portals->stop();
    const auto all = raw.read_all();
    REQUIRE(all.size() >= 2 * kBhsBytes);
    const std::uint8_t* last = all.data() + all.size() - kBhsBytes;
    CHECK(last[0] == 0x32);
    CHECK(last[36] == 1);
    CHECK(load_be16(last + 42) == 1);  // Parameter3: the grace in seconds, rounded up
    CHECK(server.world.link().ended.size() == 1);
    CHECK(server.portals->session_count() == 0);
    server.portals->stop();
    CHECK_FALSE(server.portals->listen("127.0.0.1:0"));
}

TEST_CASE("stopping does not wait for what has no session to log out of") {
    PortalOptions options;
    options.stop_grace_ms = 600'000;  // a stop that waited would be this test's timeout
    Server server(options);
    Raw silent(server), begun(server), discovery(server);
    Peer writer(server.world);
    Request first(Opcode::login, 0x04);
    first.immediate().with(
        pairs({"InitiatorName=iqn.a:b", "TargetName=iqn.2026-11.io.goldlink:pc-001"}));
    begun.send(writer.encode(first));
    Request finder(Opcode::login, 0x87);
    finder.immediate().with(pairs({"InitiatorName=iqn.a:b", "SessionType=Discovery"}));
    discovery.send(writer.encode(finder));
    CHECK(eventually([&] { return begun.readable() && discovery.readable(); }));
    discovery.socket.reset();
    server.portals->stop();
    CHECK(begun.read_all().size() > kBhsBytes);
}

TEST_CASE("libiscsi logs out when it is asked to, and is back after the restart") {
    PortalOptions options;
    options.stop_grace_ms = 600'000;
    Server server(options);
    Initiator initiator(server);
    REQUIRE(initiator.connected);
    iscsi_set_noautoreconnect(initiator.context, 0);
    std::atomic<bool> stopped{false};
    std::thread stopping([&] {
        server.portals->stop();
        stopped = true;
    });
    while (!stopped) {
        pollfd wait{iscsi_get_fd(initiator.context),
                    static_cast<short>(iscsi_which_events(initiator.context)), 0};
        ::poll(&wait, 1, 20);
        iscsi_service(initiator.context, wait.revents);
    }
    stopping.join();
    CHECK(server.world.link().ended == std::vector<SessionEnd>{SessionEnd::logout});

    PortalSet again({server.reactors[0].get()}, server.world);
    REQUIRE(again.listen(server.address));
    // The first command of the new session is told of the unit attention.
    CHECK(eventually([&] { return initiator.read(0, 512).size() == 512; }));
    CHECK(again.session_count() == 1);
    CHECK(server.world.link().started.size() == 2);
}

// The TCP congestion control of this process's socket that listens at `address`.
std::string congestion_control_at(const std::string& address) {
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
        const int fd = std::stoi(entry.path().filename());
        int listens = 0;
        socklen_t size = sizeof listens;
        if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || listens == 0 ||
            SocketAddress::local_of(fd).to_string() != address)
            continue;
        std::array<char, 16> name{};
        size = name.size();
        REQUIRE(::getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name.data(), &size) == 0);
        return name.data();
    }
    return "nobody listens";
}

TEST_CASE("a portal has the congestion control that was chosen, or the system's") {
    PortalOptions options;
    options.congestion_control = "";
    const std::string of_system = congestion_control_at(Server(options).address);
    options.congestion_control = "reno";  // every kernel has it
    CHECK(congestion_control_at(Server(options).address) == "reno");
    options.congestion_control = "no-such-thing";
    CHECK(congestion_control_at(Server(options).address) == of_system);
}

TEST_CASE("addresses that cannot be listened on are errors") {
    Server server;
    CHECK(server.portals->listen("nonsense").error().kind == ErrorKind::invalid);
    const auto in_use = server.portals->listen(server.address);
    REQUIRE_FALSE(in_use);
    CHECK(in_use.error().message.find("is another target running") != std::string::npos);
    CHECK_FALSE(server.portals->listen("192.0.2.1:3260"));
    CHECK(server.portals->addresses().size() == 1);
    CHECK(server.portals->listen("[::1]:0"));
    CHECK(server.portals->addresses().size() == 2);
}
