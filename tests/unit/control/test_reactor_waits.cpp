// What links do on storage, by the thread that waits for it: none of it on a reactor. Every sync
// and the like of this program comes by here (its symbols come before libc's) and is noted with its
// thread; those on overlays can be made to hang, as a busy disk makes them.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <condition_variable>
#include <fstream>
#include <future>
#include <mutex>

#include "target/control/link_table.hpp"
#include "tests/unit/temporary_folder.hpp"

using namespace goldlink;
using namespace goldlink::control;

namespace {

class Waits {
  public:
    void note(const char* call, const std::filesystem::path& path) {
        std::unique_lock lock(mutex_);
        calls_.emplace_back(std::this_thread::get_id(), call);
        if (!hang_ || path.string().find("/overlays/") == std::string::npos) return;
        ++hanging_;
        changed_.notify_all();
        changed_.wait(lock, [this] { return !hang_; });
        --hanging_;
    }
    std::vector<std::string> of(std::thread::id thread) {
        const std::lock_guard lock(mutex_);
        std::vector<std::string> found;
        for (const auto& [who, call] : calls_)
            if (who == thread) found.emplace_back(call);
        return found;
    }
    std::size_t count() {
        const std::lock_guard lock(mutex_);
        return calls_.size();
    }
    void hang() {
        const std::lock_guard lock(mutex_);
        hang_ = true;
    }
    void wait_for_one_that_hangs() {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return hanging_ > 0; });
    }
    void go_on() {
        const std::lock_guard lock(mutex_);
        hang_ = false;
        changed_.notify_all();
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<std::pair<std::thread::id, const char*>> calls_;
    bool hang_ = false;
    int hanging_ = 0;
};

Waits& waits() {
    static Waits all;
    return all;
}

std::filesystem::path path_of(int fd) {
    std::error_code gone;
    return std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), gone);
}

template <typename Function>
Function libc(const char* name) {
    return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));  // NOLINT
}

}  // namespace

extern "C" {
int fsync(int fd) {
    waits().note("fsync", path_of(fd));
    return libc<int (*)(int)>("fsync")(fd);
}
int fdatasync(int fd) {
    waits().note("fdatasync", path_of(fd));
    return libc<int (*)(int)>("fdatasync")(fd);
}
int ftruncate(int fd, off_t length) noexcept {
    waits().note("ftruncate", path_of(fd));
    return libc<int (*)(int, off_t)>("ftruncate")(fd, length);
}
int fallocate(int fd, int mode, off_t offset, off_t length) {
    waits().note("fallocate", path_of(fd));
    return libc<int (*)(int, int, off_t, off_t)>("fallocate")(fd, mode, offset, length);
}
int rename(const char* from, const char* to) noexcept {
    waits().note("rename", to);
    return libc<int (*)(const char*, const char*)>("rename")(from, to);
}
int mkdir(const char* path, mode_t mode) noexcept {
    waits().note("mkdir", path);
    return libc<int (*)(const char*, mode_t)>("mkdir")(path, mode);
}
int unlink(const char* path) noexcept {
    waits().note("unlink", path);
    return libc<int (*)(const char*)>("unlink")(path);
}
}

namespace {

constexpr const char* kId = "11111111-1111-4111-8111-111111111111";
constexpr const char* kOtherId = "22222222-2222-4222-8222-222222222222";

struct Session final : iscsi::SessionControl {
    void end(iscsi::SessionEnd) override { ended = true; }
    void request_logout(std::uint16_t) override {}
    bool ended = false;
};

// A target without its portals: a store with one version, a table of links, one reactor.
struct Target {
    Target() {
        {
            std::ofstream file(folder / "disk.raw", std::ios::binary);
            file << std::string(1 << 20, 'g');
        }
        store::Progress progress;
        version = store->import({folder / "disk.raw", "raw"}, progress).value().digest;
        events = EventLog::open(folder / "events");
        settings.root = folder / "overlays";
        reactor.start();
        reactor.run_and_wait([this] { reactor_thread = std::this_thread::get_id(); });
        start();
    }
    ~Target() {
        waits().go_on();
        stop();
        reactor.stop();
    }
    void start() {
        table = std::make_unique<LinkTable>(folder.path(), settings, *store, *events,
                                            std::vector{&reactor}, traces);
        REQUIRE(table->load());
    }
    void stop() {
        table->close();
        table.reset();
    }

    LinkDefinition definition(const char* id = kId, disk::Policy policy = disk::Policy::keep) {
        LinkDefinition made;
        made.id = id;
        made.revision = ++revision;
        made.iqn = std::string("iqn.2026-11.io.goldlink:") + id;
        made.disks.push_back({.lun = 0, .version = version, .policy = policy});
        return made;
    }
    iscsi::LinkEndpoint& endpoint(const char* id = kId) {
        const auto entry = table->find_target(std::string("iqn.2026-11.io.goldlink:") + id);
        REQUIRE(entry != nullptr);
        return *entry->endpoint;
    }
    bool log_in(Session& session, std::uint64_t generation = 0) {
        bool in = false;
        iscsi::LinkEndpoint& link = endpoint();
        iscsi::SessionInfo info;
        info.initiator_name = "iqn.2026-11.test:pc";
        info.generation = generation;
        reactor.run_and_wait([&] { in = link.session_started(info, session) != nullptr; });
        return in;
    }
    void log_out(Session& session) {
        iscsi::LinkEndpoint& link = endpoint();
        reactor.run_and_wait([&] { link.session_ended(session, iscsi::SessionEnd::logout); });
    }
    // A session that writes a block, so that the overlay is one that somebody needs.
    void log_in_and_write(std::uint64_t generation = 0) {
        Session session;
        iscsi::LinkEndpoint& link = endpoint();
        iscsi::SessionInfo info;
        info.initiator_name = "iqn.2026-11.test:pc";
        info.generation = generation;
        reactor.run_and_wait([&] {
            scsi::Device* const device = link.session_started(info, session);
            REQUIRE(device != nullptr);
            scsi::Nexus* const nexus = device->open_nexus("iqn.2026-11.test:pc,i,0x1", 1);
            std::vector<std::uint8_t> block(512, 'w');
            for (const std::uint8_t opcode :
                 {std::uint8_t{0x00}, std::uint8_t{0x2A}}) {  // takes the attention; WRITE (10)
                scsi::Task task;
                task.cdb[0] = opcode;
                task.cdb[8] = opcode == 0 ? 0 : 1;
                task.nexus = nexus;
                task.offered_out = opcode == 0 ? 0 : 512;
                task.buffer = block.data();
                if (device->prepare(task) == scsi::Step::pending)
                    REQUIRE(device->execute(task) == scsi::Step::finished);
                CHECK(task.status ==
                      (opcode == 0 ? scsi::Status::check_condition : scsi::Status::good));
            }
            link.first_write(session);
            device->close_nexus(nexus);
        });
        log_out(session);
    }
    // Whether the reactor does what it is asked, however long storage takes.
    bool serves() {
        const auto served = std::make_shared<std::promise<void>>();
        reactor.post([served] { served->set_value(); });
        return served->get_future().wait_for(std::chrono::seconds(20)) == std::future_status::ready;
    }

    goldlink::test::TemporaryFolder folder;
    std::unique_ptr<store::ImageStore> store =
        std::move(store::ImageStore::open(folder / "store").value());
    std::unique_ptr<EventLog> events;
    OverlaySettings settings;
    reactor::Reactor reactor{0, -1};
    std::thread::id reactor_thread;
    std::string version;
    std::uint64_t revision = 0;
    BootTraces traces{folder / "traces", *store, std::chrono::seconds(0)};
    std::unique_ptr<LinkTable> table;
};

BootRequest boot_request() { return {"33333333-3333-4333-8333-333333333333", ""}; }

}  // namespace

TEST_CASE("no reactor waits for storage while a link is made, booted, changed, reset and removed") {
    Target target;
    for (const disk::Policy policy : {disk::Policy::keep, disk::Policy::discard}) {
        CAPTURE(static_cast<int>(policy));
        REQUIRE(target.table->put(target.definition(kId, policy)));
        target.log_in_and_write();
        const auto boot = target.table->boot(kId, boot_request());
        REQUIRE(boot);
        target.log_in_and_write(boot->generation.number);
        target.stop();  // and what was written is replayed
        target.start();
        REQUIRE(target.table->view(kId)->report.ready);
        REQUIRE(target.table->reset(kId, false, 0));
        target.log_in_and_write();
        REQUIRE(target.table->reset(kId, true, {}));
        REQUIRE(target.table->put(target.definition(kId, disk::Policy::super)));
        target.log_in_and_write();
        REQUIRE(target.table->remove(kId));
    }
    // A write of a client makes room for itself, which is no part of this.
    auto found = waits().of(target.reactor_thread);
    std::erase(found, "fallocate");
    CHECK(found == std::vector<std::string>());
    CHECK(waits().count() > 50);  // they do come by here
}

TEST_CASE(
    "while an overlay is made on a disk that hangs all links are served, and nobody logs in") {
    Target target;
    REQUIRE(target.table->put(target.definition()));
    REQUIRE(target.table->put(target.definition(kOtherId)));
    waits().hang();
    auto reset = std::async(std::launch::async, [&] { return target.table->reset(kId, true, {}); });
    waits().wait_for_one_that_hangs();
    const bool serves = target.serves();
    CHECK(serves);
    Session session;
    if (serves) {
        CHECK_FALSE(target.log_in(session));  // what it would find is about to go
        CHECK(target.table->view(kOtherId)->report.ready);
    }
    waits().go_on();
    CHECK(reset.get());
    CHECK(target.log_in(session));
    target.log_out(session);
}

TEST_CASE("a removal waits for the reset that is under way, and leaves nothing of it") {
    Target target;
    REQUIRE(target.table->put(target.definition()));
    waits().hang();
    auto reset = std::async(std::launch::async, [&] { return target.table->reset(kId, true, {}); });
    waits().wait_for_one_that_hangs();
    auto removal = std::async(std::launch::async, [&] { return target.table->remove(kId); });
    const bool serves = target.serves();
    CHECK(serves);
    if (serves) CHECK(removal.wait_for(std::chrono::seconds(0)) == std::future_status::timeout);
    waits().go_on();
    CHECK(reset.get());
    CHECK(removal.get());
    CHECK_FALSE(target.table->view(kId));
    CHECK_FALSE(std::filesystem::exists(target.settings.root / kId));
}

TEST_CASE("a boot comes up while the one after it is made") {
    Target target;
    auto definition = target.definition(kId, disk::Policy::discard);
    definition.disks.push_back({.lun = 1, .version = target.version, .policy = disk::Policy::keep});
    REQUIRE(target.table->put(definition));
    const auto first = target.table->boot(kId, boot_request());
    REQUIRE(first);
    waits().hang();
    auto second =
        std::async(std::launch::async, [&] { return target.table->boot(kId, boot_request()); });
    waits().wait_for_one_that_hangs();
    Session session, next;
    const bool serves = target.serves();
    CHECK(serves);
    if (serves) CHECK(target.log_in(session, first->generation.number));
    waits().go_on();
    const auto prepared = second.get();
    REQUIRE(prepared);
    CHECK_FALSE(session.ended);
    CHECK(target.log_in(next, prepared->generation.number));
    CHECK(session.ended);
    target.log_out(session);
    target.log_out(next);
}
