#include "manager/cli/up/state_dir.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <thread>

#include "common/log.hpp"
#include "manager/cli/up/processes.hpp"

namespace goldlink::up {

namespace {

// The longest socket name we put below D: PostgreSQL's own.
constexpr std::string_view kLongestSocket = "/run/postgresql/.s.PGSQL.5432";

Result<> make_private(const std::filesystem::path& path, mode_t mode) {
    GOLDLINK_TRY(make_directories(path));
    if (::chmod(path.c_str(), mode) != 0)
        return system_failure(fmt::format("cannot set the mode of {}", path.string()));
    return {};
}

// A killed `up` is gone before the last of its threads is, and its lock with that one.
constexpr std::chrono::seconds kLockPatience{5};
constexpr std::chrono::milliseconds kTryLockEvery{20};

std::string holder_of(int lock) {
    char buffer[32] = {};
    const ssize_t n = ::pread(lock, buffer, sizeof buffer - 1, 0);
    std::string pid(buffer, n > 0 ? static_cast<std::size_t>(n) : 0);
    while (!pid.empty() && pid.back() == '\n') pid.pop_back();
    return pid;
}

Result<FileDescriptor> take_lock(const std::filesystem::path& path) {
    FileDescriptor lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    if (!lock) return system_failure(fmt::format("cannot open {}", path.string()));
    const auto end = std::chrono::steady_clock::now() + kLockPatience;
    while (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK)
            return system_failure(fmt::format("cannot lock {}", path.string()));
        const std::string pid = holder_of(lock.get());
        const bool lives = start_ticks(std::atoi(pid.c_str())) != 0;
        if (!lives && std::chrono::steady_clock::now() < end) {
            std::this_thread::sleep_for(kTryLockEvery);
            continue;
        }
        return failure(
            ErrorKind::conflict,
            fmt::format(
                "another 'goldlink up'{} runs on {}\n  to do: stop it first, or give another "
                "--state-dir",
                pid.empty() ? "" : fmt::format(" (pid {})", pid),
                path.parent_path().parent_path().string()));
    }
    // The pid is for the message above; a full disk has no room for it, and is no obstacle.
    const auto pid = fmt::format("{}\n", ::getpid());
    if (::ftruncate(lock.get(), 0) != 0 ||
        ::pwrite(lock.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size()))
        log::warn("{}",
                  system_failure(fmt::format("cannot write {}", path.string())).value().message);
    return lock;
}

}  // namespace

Result<StateDir> StateDir::open(const std::filesystem::path& path) {
    StateDir state;
    std::error_code error;
    state.path_ = std::filesystem::absolute(path, error).lexically_normal();
    if (error)
        return system_failure(fmt::format("cannot make {} absolute", path.string()), error.value());
    if (!state.path_.has_filename()) state.path_ = state.path_.parent_path();
    if (state.path_.string().size() + kLongestSocket.size() >= sizeof(sockaddr_un::sun_path))
        return failure(
            ErrorKind::invalid,
            fmt::format(
                "the state folder's path {} is too long for unix sockets ({} bytes at most)\n"
                "  to do: give a shorter --state-dir",
                state.path_.string(), sizeof(sockaddr_un::sun_path) - 1 - kLongestSocket.size()));
    if (auto made = make_directories(state.path_);
        !made || ::access(state.path_.c_str(), W_OK | X_OK) != 0) {
        const std::string why = made ? "it is not writable" : made.error().message;
        return failure(
            ErrorKind::denied,
            fmt::format(
                "cannot use {} as the state folder: {}\n  to do: run as root, or give a folder "
                "of yours with --state-dir",
                state.path_.string(), why));
    }
    // PostgreSQL runs as another user than root and has its folders below: it must get through,
    // but needs to see nothing.
    if (::geteuid() == 0) {
        struct stat status {};
        if (::stat(state.path_.c_str(), &status) != 0)
            return system_failure(fmt::format("cannot look at {}", state.path_.string()));
        if ((status.st_mode & S_IXOTH) == 0 &&
            ::chmod(state.path_.c_str(), (status.st_mode & 07777) | S_IXOTH) != 0)
            return system_failure(fmt::format("cannot set the mode of {}", state.path_.string()));
    }
    GOLDLINK_TRY(make_private(state.run(), 0711));
    GOLDLINK_TRY_ASSIGN(state.lock_, take_lock(state.run() / "up.lock"));
    for (const char* left : {"postgres", "admin.token", "target/store", "target/links.json"})
        state.used_ = state.used_ || std::filesystem::exists(state.path_ / left, error);
    for (const char* daemon : {"target", "pxe", "manager"})
        GOLDLINK_TRY(make_private(state.path_ / daemon, 0700));
    return state;
}

}  // namespace goldlink::up
