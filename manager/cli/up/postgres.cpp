#include "manager/cli/up/postgres.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <sstream>
#include <thread>
#include <vector>

#include "common/check.hpp"
#include "common/file.hpp"
#include "common/http/client.hpp"
#include "common/log.hpp"
#include "manager/cli/up/account.hpp"
#include "manager/cli/up/processes.hpp"

namespace goldlink::up {

namespace {

constexpr const char* kDatabase = "goldlink";
constexpr const char* kRole = "goldlink";
constexpr std::chrono::minutes kCreateTimeout{5};
constexpr std::chrono::milliseconds kAskStop{100};
constexpr std::chrono::seconds kLeftoverGrace{30};
// A cluster is made in postgres.new.XXXXXX, another for each attempt: what an earlier one left may
// still work in its own.
constexpr std::string_view kAttempt = "postgres.new";
constexpr std::chrono::seconds kAttemptGrace{5};
constexpr std::chrono::seconds kClearPatience{10};
constexpr std::size_t kMaxSmallFile = 64 * 1024;
constexpr std::size_t kQuotedBytes = 2000;

// Enough for the manager's pool and an admin's psql; small beside what images and overlays take.
// The registry is a few thousand rows.
constexpr const char* kSettings =
    "\n# Written once by goldlink up; yours to change. The listen address, socket folder and "
    "access\n"
    "# rules are given on the command line and stay as they are.\n"
    "max_connections = 64\n"
    "shared_buffers = 64MB\n"
    "max_wal_size = 256MB\n"
    "jit = off\n"
    "log_destination = 'stderr'\n"
    "logging_collector = off\n"
    "log_line_prefix = ''\n"
    "log_checkpoints = off\n"
    "log_timezone = 'UTC'\n"
    "timezone = 'UTC'\n";

bool executable(const std::filesystem::path& path) { return ::access(path.c_str(), X_OK) == 0; }

bool has_binaries(const std::filesystem::path& folder) {
    return executable(folder / "postgres") && executable(folder / "initdb");
}

// /usr/lib/postgresql/15 -> 15; what is no number sorts first.
int version_of(const std::filesystem::path& folder) {
    const std::string name = folder.filename();
    int version = 0;
    std::from_chars(name.data(), name.data() + name.size(), version);
    return version;
}

// Ends what still works in the folder of an attempt, and removes it.
Result<> clear_attempt(const std::filesystem::path& folder) {
    const auto end = std::chrono::steady_clock::now() + kClearPatience;
    for (;;) {
        // initdb dies with its parent; the postgres it ran ends as its input does, and so frees its
        // shared memory, which outlives one that is killed.
        for (const auto& id : processes_in(folder))
            if (!end_process(id, 0, kAttemptGrace))
                return failure(ErrorKind::conflict,
                               fmt::format("process {} of an earlier run makes a database in {} "
                                           "and cannot be ended",
                                           id.pid, folder.string()));
        std::error_code error;
        std::filesystem::remove_all(folder, error);
        if (!error) return {};
        // Somebody we did not find works in it even so.
        const bool changes = error.value() == ENOENT || error.value() == ENOTEMPTY;
        if (!changes || std::chrono::steady_clock::now() >= end)
            return system_failure(fmt::format("cannot clear {}", folder.string()), error.value());
        std::this_thread::sleep_for(kAskStop);
    }
}

}  // namespace

// What one start works with: the programs, the user, and the word to stop.
struct Postgres::Setting {
    const std::filesystem::path& data;
    const std::filesystem::path& sockets;
    const std::atomic<bool>& stop;
    std::filesystem::path binaries{};
    Account account{};

    Result<> find_binaries();
    Result<> create_cluster() const;
    Result<> clear_attempts() const;
    Result<> fill(const std::filesystem::path& fresh) const;
    Result<> write_settings(const std::filesystem::path& folder) const;
    Result<std::string> run(std::vector<std::string> argv, const std::filesystem::path& folder,
                            int at_parents_death, const std::string& input) const;
    ChildOptions child_options() const;
};

Postgres::Postgres(const StateDir& state)
    : used_(state.used()),
      state_(state.path()),
      data_(state.path() / "postgres"),
      sockets_(state.run() / "postgresql") {}

Result<ChildOptions> Postgres::prepare(const std::atomic<bool>& stop) const {
    Setting setting{data_, sockets_, stop};
    GOLDLINK_TRY(setting.find_binaries());
    GOLDLINK_TRY_ASSIGN(setting.account, Account::choose(data_));
    GOLDLINK_TRY(setting.account.reach(state_));
    GOLDLINK_TRY(make_directories(sockets_));
    GOLDLINK_TRY(setting.account.own(sockets_, 0700));
    if (!std::filesystem::exists(data_)) {
        if (used_)
            log::warn(
                "the database folder {} is missing, though this server had one: an empty database "
                "is made in its place. PCs go on with what the target has and nothing is deleted; "
                "put the old folder back and start again, or see 'goldlink registry show'",
                data_.string());
        GOLDLINK_TRY(setting.create_cluster());
    }
    GOLDLINK_TRY(clear_leftovers());
    return setting.child_options();
}

Result<> Postgres::Setting::find_binaries() {
    std::string wanted;  // the major version an existing cluster belongs to
    if (auto content = read_file(data / "PG_VERSION", kMaxSmallFile))
        wanted = content->substr(0, content->find_first_of(" \r\n"));

    std::vector<std::filesystem::path> candidates;
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator("/usr/lib/postgresql", none))
        if (has_binaries(entry.path() / "bin")) candidates.push_back(entry.path() / "bin");
    std::ranges::sort(candidates, std::greater(),
                      [](const auto& path) { return version_of(path.parent_path()); });

    if (!wanted.empty()) {
        for (const auto& folder : candidates)
            if (folder.parent_path().filename() == wanted) binaries = folder;
    } else if (!candidates.empty()) {
        binaries = candidates.front();
    }
    if (!binaries.empty()) return {};
    const char* search = std::getenv("PATH");
    std::istringstream folders(search == nullptr ? "" : search);
    std::string folder;
    while (std::getline(folders, folder, ':'))
        if (binaries.empty() && !folder.empty() && has_binaries(folder)) binaries = folder;
    if (!binaries.empty()) return {};
    if (!wanted.empty())
        return failure(
            ErrorKind::not_found,
            fmt::format(
                "{} was made by PostgreSQL {}, whose programs are not here\n  to do: apt-get "
                "install postgresql-{}",
                data.string(), wanted, wanted));
    return failure(ErrorKind::not_found,
                   "PostgreSQL's programs (initdb, postgres) are neither in PATH nor in "
                   "/usr/lib/postgresql/*/bin\n  to do: apt-get install postgresql, or give "
                   "--database-url for a "
                   "PostgreSQL elsewhere");
}

Result<> Postgres::Setting::create_cluster() const {
    GOLDLINK_TRY(clear_attempts());
    std::string fresh = fmt::format("{}.XXXXXX", (data.parent_path() / kAttempt).string());
    if (::mkdtemp(fresh.data()) == nullptr)
        return system_failure(fmt::format("cannot make a folder {}", fresh));
    auto made = fill(fresh);
    if (made && ::rename(fresh.c_str(), data.c_str()) != 0)
        made = system_failure(fmt::format("cannot rename {} to {}", fresh, data.string()));
    if (made) return {};
    if (auto cleared = clear_attempt(fresh); !cleared) log::warn("{}", cleared.error().message);
    return made;
}

Result<> Postgres::Setting::clear_attempts() const {
    std::vector<std::filesystem::path> attempts;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(data.parent_path(), error)) {
        const std::string name = entry.path().filename();
        if (name == kAttempt || name.starts_with(fmt::format("{}.", kAttempt)))
            attempts.push_back(entry.path());
    }
    if (error)
        return system_failure(fmt::format("cannot read {}", data.parent_path().string()),
                              error.value());
    for (const auto& attempt : attempts) GOLDLINK_TRY(clear_attempt(attempt));
    return {};
}

Result<> Postgres::Setting::fill(const std::filesystem::path& fresh) const {
    GOLDLINK_TRY(account.own(fresh, 0700));
    log::info("making the database in {} as user {}", data.string(), account.name);
    // SIGINT would have it remove its files in its own time, after we are gone.
    GOLDLINK_TRY(run({binaries / "initdb", "--pgdata=" + fresh.string(),
                      std::string("--username=") + kRole, "--encoding=UTF8", "--locale=C.UTF-8",
                      "--auth-local=peer", "--auth-host=reject", "--data-checksums"},
                     fresh, SIGKILL, ""));
    GOLDLINK_TRY(write_settings(fresh));
    // In single-user mode: no server has to run, and the cluster is whole before it gets its name.
    const auto sql = fresh / "create.sql";
    GOLDLINK_TRY(replace_file(sql, fmt::format("CREATE DATABASE {};\n", kDatabase)));
    GOLDLINK_TRY(
        run({binaries / "postgres", "--single", "-D", fresh, "-c", "exit_on_error=on", "postgres"},
            fresh, SIGINT, sql));
    std::error_code error;
    std::filesystem::remove(sql, error);
    return {};
}

// Who may connect: the user we run as, and root, both as the one role.
Result<> Postgres::Setting::write_settings(const std::filesystem::path& folder) const {
    GOLDLINK_TRY_ASSIGN(auto settings, read_file(folder / "postgresql.conf", 1 << 20));
    GOLDLINK_TRY_ASSIGN(const auto self, account_name(::geteuid()));
    std::string map = fmt::format("goldlink {} {}\n", self, kRole);
    if (self != account.name) map += fmt::format("goldlink {} {}\n", account.name, kRole);
    const std::pair<const char*, std::string> files[] = {
        {"postgresql.conf", settings + kSettings},
        {"pg_hba.conf", "local all all peer map=goldlink\n"},
        {"pg_ident.conf", map},
    };
    for (const auto& [name, content] : files) {
        GOLDLINK_TRY(replace_file(folder / name, content, 0600));
        GOLDLINK_TRY(account.own(folder / name, 0600));
    }
    return {};
}

// In `folder`, where processes_in finds it and what it starts.
Result<std::string> Postgres::Setting::run(std::vector<std::string> argv,
                                           const std::filesystem::path& folder,
                                           int at_parents_death, const std::string& input) const {
    std::string output;
    const std::string program = argv[0];
    ChildOptions options;
    options.argv = std::move(argv);
    options.working_directory = folder;
    options.extra_environment = {"LC_ALL=C.UTF-8", "TZ=UTC"};
    options.on_line = [&output](std::string_view line) {
        output += line;
        output += '\n';
        if (output.size() > 2 * kQuotedBytes) output.erase(0, output.size() - kQuotedBytes);
    };
    options.before_exec = [become = account.before_exec(at_parents_death), path = input.c_str(),
                           has_input = !input.empty()] {
        become();
        if (!has_input) return;
        const int fd = ::open(path, O_RDONLY);
        if (fd < 0 || ::dup2(fd, 0) < 0) ::_exit(126);
    };
    GOLDLINK_TRY_ASSIGN(auto child, Child::spawn(std::move(options)));
    const auto end = std::chrono::steady_clock::now() + kCreateTimeout;
    std::optional<ExitStatus> status;
    while (!(status = child.wait(kAskStop)) && std::chrono::steady_clock::now() < end)
        if (stop) {
            child.stop(std::chrono::seconds(5));
            return failure(ErrorKind::cancelled, fmt::format("{} was stopped", program));
        }
    if (!status) {
        child.stop(std::chrono::seconds(5));
        return failure(ErrorKind::timeout, fmt::format("{} did not end within {} minutes", program,
                                                       kCreateTimeout.count()));
    }
    if (status->code != 0)
        return failure(ErrorKind::io,
                       fmt::format("{} {}; it says:\n{}", program, status->describe(), output));
    return output;
}

ChildOptions Postgres::Setting::child_options() const {
    ChildOptions options;
    options.argv = {binaries / "postgres",
                    "-D",
                    data,
                    "-c",
                    "listen_addresses=",
                    "-c",
                    "unix_socket_directories=" + sockets.string(),
                    "-c",
                    "unix_socket_permissions=0700",
                    "-c",
                    "port=5432"};
    options.working_directory = data;  // where it goes by itself later: clear_leftovers looks there
    options.extra_environment = {"LC_ALL=C.UTF-8", "TZ=UTC"};
    options.before_exec = account.before_exec(SIGINT);
    return options;
}

Result<> Postgres::clear_leftovers() const {
    const auto pid_file = data_ / "postmaster.pid";
    auto left = processes_in(data_);
    pid_t postmaster = 0;
    if (const auto content = read_file(pid_file, kMaxSmallFile))
        std::from_chars(content->data(), content->data() + content->size(), postmaster);
    if (postmaster == 0) {
        // One that has only begun; it writes the file before it starts any process. Who else is in
        // there, an admin's shell, may stay.
        std::erase_if(left, [](const ProcessId& id) { return name_of(id.pid) != "postgres"; });
        if (!left.empty()) postmaster = left.front().pid;
    }
    if (!left.empty())
        log::warn("PostgreSQL (pid {}) of an earlier run is still there: stopping it", postmaster);
    // One that is stopped would hear nothing, and the postmaster would wait for it.
    for (const auto& id : left) ::kill(id.pid, SIGCONT);
    // The postmaster first: it ends its backends in order.
    std::ranges::stable_partition(left, [&](const ProcessId& id) { return id.pid == postmaster; });
    for (const auto& id : left)
        if (!end_process(id, id.pid == postmaster ? SIGINT : SIGTERM, kLeftoverGrace))
            return failure(
                ErrorKind::conflict,
                fmt::format("process {} of an earlier run's PostgreSQL in {} cannot be ended",
                            id.pid, data_.string()));
    // PostgreSQL refuses to start while the pid in its two lock files exists, be it a stranger's or
    // a corpse nobody reaps. None of its processes lives, so the files mean nothing.
    if (postmaster > 0 && ::kill(postmaster, 0) == 0) {
        for (const auto& path : {pid_file, sockets_ / ".s.PGSQL.5432.lock"}) {
            std::error_code error;
            std::filesystem::remove(path, error);
            if (error)
                return system_failure(fmt::format("cannot remove {}", path.string()),
                                      error.value());
        }
    }
    return {};
}

bool Postgres::ready(pid_t pid) const {
    // Lines of postmaster.pid: pid, folder, start time, port, socket folder, address, shared
    // memory, status ("starting", "ready", "standby", "stopping").
    const auto content = read_file(data_ / "postmaster.pid", kMaxSmallFile);
    if (!content) return false;
    std::istringstream lines(*content);
    std::string line, status;
    std::getline(lines, line);
    if (line != std::to_string(pid)) return false;
    for (int i = 2; i <= 8; ++i) std::getline(lines, status);
    return lines && status.starts_with("ready");
}

// PostgreSQL's protocol, SSLRequest: its length 8, then the code 80877103. The answer is one byte,
// or, where the postmaster cannot make a process now, an error message: it lives as well.
Result<> Postgres::answers(std::chrono::milliseconds limit) const {
    constexpr std::uint8_t kRequest[] = {0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f};
    const auto end = std::chrono::steady_clock::now() + limit;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = sockets_ / ".s.PGSQL.5432";
    CHECK(path.size() < sizeof address.sun_path, "StateDir::open has seen to that");
    std::memcpy(address.sun_path, path.data(), path.size());
    const FileDescriptor fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return system_failure("cannot make a socket");
    const auto name = reinterpret_cast<const sockaddr*>(&address);
    // EAGAIN: its queue of connections is full, so it has not taken any for long.
    if (::connect(fd.get(), name, sizeof address) != 0)
        return system_failure(fmt::format("cannot connect to {}", path));
    if (::send(fd.get(), kRequest, sizeof kRequest, MSG_NOSIGNAL) != sizeof kRequest)
        return system_failure(fmt::format("cannot send to {}", path));
    pollfd waited{fd.get(), POLLIN, 0};
    for (;;) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
            end - std::chrono::steady_clock::now());
        if (left.count() <= 0)
            return failure(ErrorKind::timeout, fmt::format("no answer at {}", path));
        if (::poll(&waited, 1, static_cast<int>(left.count())) > 0) return {};
    }
}

std::string Postgres::database_url() const {
    return fmt::format("postgresql://{}@/{}?host={}", kRole, kDatabase,
                       http::percent_encode(sockets_.string()));
}

}  // namespace goldlink::up
