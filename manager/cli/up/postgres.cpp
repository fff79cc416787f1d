#include "manager/cli/up/postgres.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <sstream>

#include "common/file.hpp"
#include "common/http/client.hpp"
#include "common/log.hpp"
#include "manager/cli/up/processes.hpp"

namespace goldlink::up {

namespace {

constexpr const char* kDatabase = "goldlink";
constexpr const char* kRole = "goldlink";
constexpr std::chrono::minutes kCreateTimeout{5};
constexpr std::chrono::seconds kLeftoverGrace{30};
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

}  // namespace

Result<Postgres> Postgres::prepare(const StateDir& state) {
    Postgres postgres;
    postgres.data_ = state.path() / "postgres";
    postgres.sockets_ = state.run() / "postgresql";
    GOLDLINK_TRY_ASSIGN(postgres.binaries_, find_binaries(postgres.data_));
    GOLDLINK_TRY_ASSIGN(postgres.account_, Account::choose(postgres.data_));
    GOLDLINK_TRY(postgres.account_.reach(state.path()));
    GOLDLINK_TRY(make_directories(postgres.sockets_));
    GOLDLINK_TRY(postgres.account_.own(postgres.sockets_, 0700));
    if (!std::filesystem::exists(postgres.data_)) GOLDLINK_TRY(postgres.create_cluster());
    GOLDLINK_TRY(postgres.clear_leftovers());
    return postgres;
}

Result<std::filesystem::path> Postgres::find_binaries(const std::filesystem::path& data) {
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
            if (folder.parent_path().filename() == wanted) return folder;
    } else if (!candidates.empty()) {
        return candidates.front();
    }
    const char* search = std::getenv("PATH");
    std::istringstream folders(search == nullptr ? "" : search);
    std::string folder;
    while (std::getline(folders, folder, ':'))
        if (!folder.empty() && has_binaries(folder)) return std::filesystem::path(folder);
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

Result<> Postgres::create_cluster() const {
    const auto fresh = std::filesystem::path(data_.string() + ".new");
    std::error_code error;
    std::filesystem::remove_all(fresh, error);
    if (error) return system_failure(fmt::format("cannot clear {}", fresh.string()), error.value());
    GOLDLINK_TRY(make_directories(fresh));
    GOLDLINK_TRY(account_.own(fresh, 0700));
    log::info("making the database in {} as user {}", data_.string(), account_.name);
    GOLDLINK_TRY(run({binaries_ / "initdb", "--pgdata=" + fresh.string(),
                      std::string("--username=") + kRole, "--encoding=UTF8", "--locale=C.UTF-8",
                      "--auth-local=peer", "--auth-host=reject", "--data-checksums"},
                     ""));
    GOLDLINK_TRY(write_settings(fresh));
    // In single-user mode: no server has to run, and the cluster is whole before it gets its name.
    const auto sql = fresh / "create.sql";
    GOLDLINK_TRY(replace_file(sql, fmt::format("CREATE DATABASE {};\n", kDatabase)));
    GOLDLINK_TRY(
        run({binaries_ / "postgres", "--single", "-D", fresh, "-c", "exit_on_error=on", "postgres"},
            sql));
    std::filesystem::remove(sql, error);
    if (::rename(fresh.c_str(), data_.c_str()) != 0)
        return system_failure(
            fmt::format("cannot rename {} to {}", fresh.string(), data_.string()));
    return {};
}

// Who may connect: the user we run as, and root, both as the one role.
Result<> Postgres::write_settings(const std::filesystem::path& folder) const {
    GOLDLINK_TRY_ASSIGN(auto settings, read_file(folder / "postgresql.conf", 1 << 20));
    GOLDLINK_TRY_ASSIGN(const auto self, account_name(::geteuid()));
    std::string map = fmt::format("goldlink {} {}\n", self, kRole);
    if (self != account_.name) map += fmt::format("goldlink {} {}\n", account_.name, kRole);
    const std::pair<const char*, std::string> files[] = {
        {"postgresql.conf", settings + kSettings},
        {"pg_hba.conf", "local all all peer map=goldlink\n"},
        {"pg_ident.conf", map},
    };
    for (const auto& [name, content] : files) {
        GOLDLINK_TRY(replace_file(folder / name, content, 0600));
        GOLDLINK_TRY(account_.own(folder / name, 0600));
    }
    return {};
}

Result<std::string> Postgres::run(std::vector<std::string> argv, const std::string& input) const {
    std::string output;
    const std::string program = argv[0];
    ChildOptions options;
    options.argv = std::move(argv);
    options.working_directory = "/";
    options.extra_environment = {"LC_ALL=C.UTF-8", "TZ=UTC"};
    options.on_line = [&output](std::string_view line) {
        output += line;
        output += '\n';
        if (output.size() > 2 * kQuotedBytes) output.erase(0, output.size() - kQuotedBytes);
    };
    options.before_exec = [become = account_.before_exec(), path = input.c_str(),
                           has_input = !input.empty()] {
        become();
        if (!has_input) return;
        const int fd = ::open(path, O_RDONLY);
        if (fd < 0 || ::dup2(fd, 0) < 0) ::_exit(126);
    };
    GOLDLINK_TRY_ASSIGN(auto child, Child::spawn(std::move(options)));
    const auto status = child.wait(kCreateTimeout);
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

ChildOptions Postgres::child_options() const {
    ChildOptions options;
    options.argv = {binaries_ / "postgres",
                    "-D",
                    data_,
                    "-c",
                    "listen_addresses=",
                    "-c",
                    "unix_socket_directories=" + sockets_.string(),
                    "-c",
                    "unix_socket_permissions=0700",
                    "-c",
                    "port=5432"};
    options.working_directory = "/";
    options.extra_environment = {"LC_ALL=C.UTF-8", "TZ=UTC"};
    options.before_exec = account_.before_exec();
    return options;
}

Result<> Postgres::clear_leftovers() const {
    const auto pid_file = data_ / "postmaster.pid";
    const auto content = read_file(pid_file, kMaxSmallFile);
    if (!content) return {};
    pid_t postmaster = 0;
    std::from_chars(content->data(), content->data() + content->size(), postmaster);

    auto left = processes_in(data_);
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

std::string Postgres::database_url() const {
    return fmt::format("postgresql://{}@/{}?host={}", kRole, kDatabase,
                       http::percent_encode(sockets_.string()));
}

}  // namespace goldlink::up
