// Full filesystems and killed processes.
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <thread>

#include "store_fixture.hpp"

using namespace goldlink;
using namespace goldlink::store;
using namespace goldlink::store::test;
using Catch::Contains;

TEST_CASE("a filesystem that fills up during an import: a clear error and nothing left") {
    TemporaryFolder folder;
    write_file(folder / "big.img", random_bytes(48 << 20, 1));
    write_file(folder / "small.img", random_bytes(1 << 20, 2));
    int pipe_fds[2];
    REQUIRE(::pipe(pipe_fds) == 0);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {  // a mount namespace of its own
        std::string said;
        const auto mount_point = folder / "full";
        std::filesystem::create_directory(mount_point);
        if (::unshare(CLONE_NEWNS | (::geteuid() == 0 ? 0 : CLONE_NEWUSER)) != 0 ||
            ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
            ::mount("tmpfs", mount_point.c_str(), "tmpfs", 0, "size=24m") != 0) {
            said = "no mount";
        } else {
            auto store = ImageStore::open(mount_point / "store");
            Progress progress, again;
            const auto failed = (*store)->import({folder / "big.img", "raw"}, progress);
            said = failed ? "it fitted"
                          : std::string(to_string(failed.error().kind)) + ": " +
                                failed.error().message;
            if (!failed && allocated_bytes(mount_point / "store/packs") != 0) said += " LEFT";
            if (!(*store)->list() || !(*store)->list()->empty()) said += " LISTED";
            // The space is there for what fits.
            if (!(*store)->import({folder / "small.img", "raw"}, again)) said += " NOT USABLE";
        }
        [[maybe_unused]] const auto n = ::write(pipe_fds[1], said.data(), said.size());
        ::_exit(0);
    }
    ::close(pipe_fds[1]);
    std::string said(4096, '\0');
    std::size_t length = 0;
    for (ssize_t n = 0; (n = ::read(pipe_fds[0], said.data() + length, said.size() - length)) > 0;)
        length += static_cast<std::size_t>(n);
    said.resize(length);
    ::close(pipe_fds[0]);
    REQUIRE(::waitpid(child, nullptr, 0) == child);
    CHECK_THAT(said, Contains("exhausted") && Contains("full") && Contains("No space left"));
    CHECK_THAT(said, !Contains("LEFT") && !Contains("LISTED") && !Contains("NOT USABLE"));
}

TEST_CASE("a process killed during an import leaves a store that reclaims the space") {
    TemporaryFolder folder;
    write_file(folder / "kept.img", random_bytes(2 << 20, 1));
    write_file(folder / "big.img", random_bytes(200 << 20, 2));
    std::string kept;
    kept = import_ok(*open_store(folder / "store"), folder / "kept.img", "raw").digest;
    for (int round = 0; round < 3; ++round) {
        const pid_t child = ::fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            auto store = ImageStore::open(folder / "store");
            Progress progress;
            std::thread killer([&progress, round] {
                while (progress.done_bytes < (20ull + 60ull * static_cast<unsigned>(round)) << 20)
                    std::this_thread::yield();
                ::kill(::getpid(), SIGKILL);
            });
            (void)(*store)->import({folder / "big.img", "raw"}, progress);
            ::pause();
        }
        int status = 0;
        REQUIRE(::waitpid(child, &status, 0) == child);
        REQUIRE(WIFSIGNALED(status));
        CHECK(allocated_bytes(folder / "store/packs") > 10 << 20);
        auto store = open_store(folder / "store");
        CHECK(allocated_bytes(folder / "store/packs") < 3 << 20);
        REQUIRE(store->list()->size() == 1);
        CHECK(read_version(**store->open_version(kept)) == random_bytes(2 << 20, 1));
        Progress progress;
        CHECK(store->verify(kept, progress)->empty());
    }
    auto store = open_store(folder / "store");
    const auto big = import_ok(*store, folder / "big.img", "raw");
    CHECK(read_version(**store->open_version(big.digest)) == random_bytes(200 << 20, 2));
}

TEST_CASE("a manifest that was changed is corrupt, not a wrong disk") {
    TemporaryFolder folder;
    write_file(folder / "a.img", random_bytes(4 * kChunkBytes, 1));
    auto store = open_store(folder / "store");
    const auto info = import_ok(*store, folder / "a.img", "raw");
    std::fstream file(folder / "store/manifests" / info.digest,
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(100);
    file.put('x');
    file.close();
    const auto opened = store->open_version(info.digest);
    REQUIRE_FALSE(opened);
    CHECK(opened.error().kind == ErrorKind::corrupt);
}
