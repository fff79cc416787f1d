#include "manager/cli/up/account.hpp"

#include <fmt/format.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/log.hpp"

namespace goldlink::up {

namespace {

constexpr std::uint32_t kPassFolders = 1U << CAP_DAC_READ_SEARCH;
static_assert(CAP_DAC_READ_SEARCH < 32, "it is in the first word of the capability sets");

// Whether the user may pass through a folder, by its mode bits.
bool may_enter(const struct stat& status, uid_t uid, gid_t gid) {
    if (status.st_uid == uid) return (status.st_mode & S_IXUSR) != 0;
    if (status.st_gid == gid) return (status.st_mode & S_IXGRP) != 0;
    return (status.st_mode & S_IXOTH) != 0;
}

// Keeps one capability over the change of user and the exec (capabilities(7), ambient set).
// Async-signal-safe: system calls alone.
bool keep_pass_folders() {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2]{{kPassFolders, kPassFolders, kPassFolders}, {0, 0, 0}};
    return ::syscall(SYS_capset, &header, data) == 0 &&
           ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_READ_SEARCH, 0, 0) == 0;
}

bool have_pass_folders() {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2]{};
    return ::syscall(SYS_capget, &header, data) == 0 && (data[0].permitted & kPassFolders) != 0;
}

}  // namespace

Result<std::string> account_name(uid_t uid) {
    const passwd* entry = ::getpwuid(uid);
    if (entry == nullptr)
        return failure(ErrorKind::not_found,
                       fmt::format("user id {} has no entry in the system's user list, and "
                                   "PostgreSQL needs one\n  to do: add the user, or give "
                                   "--database-url",
                                   uid));
    return std::string(entry->pw_name);
}

Result<Account> Account::choose(const std::filesystem::path& data) {
    Account account;
    struct stat status {};
    const bool exists = ::stat(data.c_str(), &status) == 0;
    if (::geteuid() != 0) {
        account.uid = ::geteuid();
        account.gid = ::getegid();
        GOLDLINK_TRY_ASSIGN(account.name, account_name(account.uid));
        if (!exists || status.st_uid == account.uid) return account;
        const auto owner = account_name(status.st_uid);
        return failure(ErrorKind::denied,
                       fmt::format("{} belongs to {}, not to {}\n  to do: run 'goldlink up' as "
                                   "root or as that user, or give another --state-dir",
                                   data.string(), owner ? *owner : std::to_string(status.st_uid),
                                   account.name));
    }
    if (exists && status.st_uid == 0)
        return failure(ErrorKind::invalid,
                       fmt::format("{} belongs to root, and PostgreSQL does not run as root\n"
                                   "  to do: chown -R postgres: {}",
                                   data.string(), data.string()));
    const passwd* entry = exists ? ::getpwuid(status.st_uid) : nullptr;
    if (!exists)
        for (const char* name : {"postgres", "goldlink", "nobody"})
            if (entry == nullptr) entry = ::getpwnam(name);
    if (entry == nullptr)
        return failure(ErrorKind::not_found,
                       "there is no user to run PostgreSQL as\n  to do: apt-get install postgresql "
                       "(which makes user postgres), or 'useradd --system goldlink'");
    account.uid = entry->pw_uid;
    account.gid = entry->pw_gid;
    account.name = entry->pw_name;
    account.become = true;
    return account;
}

Result<> Account::reach(const std::filesystem::path& folder) {
    if (!become) return {};
    for (auto step = folder; step.has_relative_path(); step = step.parent_path()) {
        struct stat status {};
        if (::stat(step.c_str(), &status) != 0)
            return system_failure(fmt::format("cannot look at {}", step.string()));
        if (may_enter(status, uid, gid)) continue;
        if (!have_pass_folders())
            return failure(ErrorKind::denied,
                           fmt::format("PostgreSQL runs as user {}, who may not pass through {}\n"
                                       "  to do: chmod o+x {}, or give another --state-dir",
                                       name, step.string(), step.string()));
        log::info("{} is closed to user {}: PostgreSQL keeps CAP_DAC_READ_SEARCH to pass it",
                  step.string(), name);
        pass_folders = true;
        return {};
    }
    return {};
}

Result<> Account::own(const std::filesystem::path& path, mode_t mode) const {
    if (::chmod(path.c_str(), mode) != 0)
        return system_failure(fmt::format("cannot set the mode of {}", path.string()));
    if (become && ::chown(path.c_str(), uid, gid) != 0)
        return system_failure(fmt::format("cannot give {} to user {}", path.string(), name));
    return {};
}

std::function<void()> Account::before_exec(int at_parents_death) const {
    return [account = *this, at_parents_death, parent = ::getpid()] {
        if (account.become) {
            if (account.pass_folders && ::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) ::_exit(126);
            if (::setgroups(1, &account.gid) != 0 || ::setgid(account.gid) != 0 ||
                ::setuid(account.uid) != 0)
                ::_exit(126);
            if (account.pass_folders && !keep_pass_folders()) ::_exit(126);
        }
        ::umask(0077);
        // The change of user cleared what the parent's death sends (prctl(2)).
        ::prctl(PR_SET_PDEATHSIG, at_parents_death);
        if (::getppid() != parent) ::_exit(127);
    };
}

}  // namespace goldlink::up
