// Who gets a server's connections when there are not enough.
#include <sys/socket.h>

#include <catch2/catch.hpp>
#include <memory>
#include <vector>

#include "common/http/connection_room.hpp"

using namespace goldlink;
using namespace goldlink::http;
using namespace std::chrono_literals;
using Answer = ConnectionRoom::Answer;

namespace {

const auto kStart = ConnectionRoom::Clock::time_point(1h);

struct One {
    One(std::string peer, std::chrono::seconds at) : slot(stream, std::move(peer), kStart + at) {}
    SocketStream stream;
    ConnectionSlot slot;
};

struct Rig {
    explicit Rig(ConnectionRoom::Limits limits) : room(limits) {}
    ~Rig() {
        for (auto& one : all) room.remove(one->slot);
    }
    Answer come(std::string peer, std::chrono::seconds at) {
        auto one = std::make_unique<One>(std::move(peer), at);
        const Answer answer = room.admit(one->slot, kStart + at);
        if (answer == Answer::admitted) all.push_back(std::move(one));
        return answer;
    }
    std::size_t leaving() const {
        std::size_t n = 0;
        for (const auto& one : all)
            if (one->slot.leaving()) ++n;
        return n;
    }
    void leave(std::size_t i) {
        room.remove(all[i]->slot);
        all.erase(all.begin() + static_cast<std::ptrdiff_t>(i));
    }
    ConnectionRoom room;
    std::vector<std::unique_ptr<One>> all;
};

}  // namespace

TEST_CASE("the oldest idle connection goes for a new one, those with a request stay") {
    Rig rig({3, 3, 0});
    for (int i = 0; i < 3; ++i)
        CHECK(rig.come("10.0.0.1", std::chrono::seconds(i)) == Answer::admitted);
    rig.all[0]->slot.begin_request();
    CHECK(rig.come("10.0.0.2", 10s) == Answer::admitted);
    CHECK_FALSE(rig.all[0]->slot.leaving());
    CHECK(rig.all[1]->slot.leaving());
    CHECK_FALSE(rig.all[2]->slot.leaving());
    for (auto& one : rig.all) one->slot.begin_request();
    CHECK(rig.come("10.0.0.3", 11s) == Answer::full);
    rig.all[3]->slot.await_request(kStart + 12s);
    CHECK(rig.come("10.0.0.3", 13s) == Answer::admitted);
    CHECK(rig.all[3]->slot.leaving());
    CHECK(rig.leaving() == 2);
}

TEST_CASE("one address cannot have all connections, and makes room by its own") {
    Rig rig({40, 20, 5});
    CHECK(rig.come("10.0.0.9", 0s) == Answer::admitted);
    for (int i = 0; i < 30; ++i)
        CHECK(rig.come("10.0.0.1", std::chrono::seconds(i + 1)) == Answer::admitted);
    CHECK(rig.leaving() == 10);
    CHECK_FALSE(rig.all[0]->slot.leaving());  // the oldest of all, but of another address
    CHECK(rig.all[1]->slot.leaving());
    CHECK_FALSE(rig.all[11]->slot.leaving());
    for (auto& one : rig.all) one->slot.begin_request();
    CHECK(rig.come("10.0.0.1", 60s) == Answer::full_of_address);
    CHECK(rig.come("10.0.0.2", 60s) == Answer::admitted);
}

TEST_CASE("the reserve is for addresses that have few connections") {
    Rig rig({40, 20, 8});
    const auto busy = [&](const std::string& peer) {
        const Answer answer = rig.come(peer, 0s);
        if (answer == Answer::admitted) rig.all.back()->slot.begin_request();
        return answer;
    };
    for (int i = 0; i < 16; ++i) CHECK(busy("10.0.0.1") == Answer::admitted);
    for (int i = 0; i < 16; ++i) CHECK(busy("10.0.0.2") == Answer::admitted);
    CHECK(busy("10.0.0.1") == Answer::full);
    CHECK(busy("10.0.0.2") == Answer::full);
    for (int i = 0; i < 8; ++i) CHECK(busy("10.0.1." + std::to_string(i)) == Answer::admitted);
    CHECK(busy("10.0.2.1") == Answer::full);
}

TEST_CASE("those of an address that has many go before older ones of others") {
    Rig rig({30, 30, 0});
    for (int i = 0; i < 5; ++i)
        CHECK(rig.come("10.0.0.1", std::chrono::seconds(i)) == Answer::admitted);
    for (int i = 5; i < 30; ++i)
        CHECK(rig.come("10.0.0.2", std::chrono::seconds(i)) == Answer::admitted);
    CHECK(rig.come("10.0.0.3", 60s) == Answer::admitted);
    CHECK(rig.all[5]->slot.leaving());
    CHECK(rig.leaving() == 1);
}

TEST_CASE("a connection that is shut down leaves its place at once, but not without bound") {
    Rig rig({2, 2, 0});
    CHECK(rig.come("10.0.0.1", 0s) == Answer::admitted);
    for (int i = 1; i < 4; ++i)
        CHECK(rig.come("10.0.0.1", std::chrono::seconds(i)) == Answer::admitted);
    CHECK(rig.leaving() == 2);
    CHECK(rig.come("10.0.0.1", 5s) == Answer::full);  // until one of them has ended
    rig.leave(0);
    CHECK(rig.come("10.0.0.1", 6s) == Answer::admitted);
}

TEST_CASE("a unix socket's connections are not bound as one address") {
    Rig rig({40, 20, 5});
    for (int i = 0; i < 40; ++i) CHECK(rig.come("unix", 0s) == Answer::admitted);
    CHECK(rig.leaving() == 0);
}

TEST_CASE("the limits that follow from the number of connections") {
    CHECK(ConnectionRoom::Limits::of(2).per_address == 2);
    CHECK(ConnectionRoom::Limits::of(2).reserved == 0);
    CHECK(ConnectionRoom::Limits::of(512).per_address == 256);
    CHECK(ConnectionRoom::Limits::of(512).reserved == 64);
}
