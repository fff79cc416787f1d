#include "target/store/sandbox.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>

#include "common/seccomp.hpp"

namespace goldlink::store {

namespace {

constexpr uid_t kNobody = 65534;
constexpr std::uint64_t kReadAccess =
    LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_EXECUTE;
constexpr std::uint64_t kAllAccess =
    kReadAccess | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
    LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR |
    LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |
    LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM;

Result<> allow(int ruleset, const std::filesystem::path& path, std::uint64_t access,
               bool required) {
    const FileDescriptor fd(::open(path.c_str(), O_PATH | O_CLOEXEC));
    if (!fd) {
        if (!required) return {};
        return system_failure(fmt::format("cannot open {}", path.string()));
    }
    landlock_path_beneath_attr rule{};
    rule.allowed_access = access;
    rule.parent_fd = fd.get();
    if (::syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0)
        return system_failure(fmt::format("cannot confine a child to {}", path.string()));
    return {};
}

Result<FileDescriptor> make_ruleset(const std::vector<std::filesystem::path>& readable,
                                    const std::filesystem::path& writable,
                                    const std::filesystem::path& program) {
    landlock_ruleset_attr attributes{};
    attributes.handled_access_fs = kAllAccess;
    FileDescriptor ruleset(static_cast<int>(
        ::syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0)));
    if (!ruleset) return FileDescriptor();  // no Landlock in this kernel
    constexpr std::uint64_t kFileRead = LANDLOCK_ACCESS_FS_READ_FILE;
    constexpr std::uint64_t kFileWrite = LANDLOCK_ACCESS_FS_WRITE_FILE;
    for (const char* system : {"/usr", "/lib", "/lib64", "/bin", "/etc", "/proc", "/sys", "/nix"})
        GOLDLINK_TRY(allow(ruleset.get(), system, kReadAccess, false));
    for (const char* device : {"/dev/null", "/dev/urandom", "/dev/random", "/dev/zero"})
        GOLDLINK_TRY(allow(ruleset.get(), device, kFileRead | kFileWrite, false));
    for (const auto& input : readable) GOLDLINK_TRY(allow(ruleset.get(), input, kFileRead, true));
    if (!writable.empty())
        GOLDLINK_TRY(allow(ruleset.get(), writable, kFileRead | kFileWrite, true));
    if (!program.empty())
        GOLDLINK_TRY(allow(ruleset.get(), program, kFileRead | LANDLOCK_ACCESS_FS_EXECUTE, true));
    return ruleset;
}

constexpr std::array kForbidden = {SYS_socket,
                                   SYS_connect,
                                   SYS_bind,
                                   SYS_listen,
                                   SYS_accept,
                                   SYS_accept4,
                                   SYS_ptrace,
                                   SYS_process_vm_readv,
                                   SYS_process_vm_writev,
                                   SYS_mount,
                                   SYS_umount2,
                                   SYS_pivot_root,
                                   SYS_chroot,
                                   SYS_setns,
                                   SYS_unshare,
                                   SYS_bpf,
                                   SYS_perf_event_open,
                                   SYS_keyctl,
                                   SYS_add_key,
                                   SYS_request_key,
                                   SYS_init_module,
                                   SYS_finit_module,
                                   SYS_delete_module,
                                   SYS_kexec_load,
                                   SYS_reboot,
                                   SYS_swapon,
                                   SYS_swapoff,
                                   SYS_userfaultfd,
                                   SYS_io_uring_setup,
                                   SYS_open_by_handle_at,
                                   SYS_name_to_handle_at,
                                   SYS_pidfd_getfd,
                                   SYS_settimeofday,
                                   SYS_clock_settime,
                                   SYS_acct,
                                   SYS_quotactl,
                                   SYS_link,
                                   SYS_linkat,
                                   SYS_symlink,
                                   SYS_symlinkat,
                                   SYS_mknod,
                                   SYS_mknodat,
                                   SYS_chown,
                                   SYS_fchown,
                                   SYS_lchown,
                                   SYS_fchownat};

// Becomes nobody, keeping CAP_DAC_READ_SEARCH through exec so that the input can be read wherever
// it lies; Landlock narrows that to the input.
bool become_nobody() {
    if (::syscall(SYS_setgroups, 0, nullptr) != 0) return false;
    if (::syscall(SYS_setresgid, kNobody, kNobody, kNobody) != 0) return false;
    if (::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) return false;
    if (::syscall(SYS_setresuid, kNobody, kNobody, kNobody) != 0) return false;
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2]{};
    data[0].effective = data[0].permitted = data[0].inheritable = 1u << CAP_DAC_READ_SEARCH;
    if (::syscall(SYS_capset, &header, data) != 0) return false;
    return ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_READ_SEARCH, 0, 0) == 0;
}

bool limit(__rlimit_resource resource, std::uint64_t value) {
    const rlimit limits{value, value};
    return ::setrlimit(resource, &limits) == 0;
}

void enter_or_die(const SandboxLimits& limits, int landlock, bool root) {
    bool held = limit(RLIMIT_AS, limits.memory_bytes) && limit(RLIMIT_CPU, limits.cpu_seconds) &&
                limit(RLIMIT_FSIZE, limits.file_bytes) && limit(RLIMIT_CORE, 0) &&
                limit(RLIMIT_NOFILE, limits.open_files);
    held = held && (!root || become_nobody());
    held = held && ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
    // A change of user forgets it.
    held = held && ::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
    held = held && (landlock < 0 || ::syscall(SYS_landlock_restrict_self, landlock, 0) == 0);
    held = held && filter_system_calls(Calls::all_but_these, kForbidden);
    if (held) return;
    constexpr std::string_view kMessage = "the sandbox could not be put up\n";
    [[maybe_unused]] const ssize_t n = ::write(2, kMessage.data(), kMessage.size());
    ::_exit(126);
}

}  // namespace

Result<std::unique_ptr<Sandbox>> Sandbox::make(const std::vector<std::filesystem::path>& readable,
                                               const std::filesystem::path& writable,
                                               const SandboxLimits& limits,
                                               const std::filesystem::path& program) {
    std::unique_ptr<Sandbox> sandbox(new Sandbox);
    sandbox->limits_ = limits;
    sandbox->limits_.open_files += readable.size();
    GOLDLINK_TRY_ASSIGN(sandbox->landlock_, make_ruleset(readable, writable, program));
    if (!writable.empty() && ::geteuid() == 0) {
        sandbox->lent_ = FileDescriptor(::open(writable.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
        if (!sandbox->lent_ || ::fchown(sandbox->lent_.get(), kNobody, kNobody) != 0)
            return system_failure(fmt::format("cannot lend {} to a child", writable.string()));
    }
    return sandbox;
}

Sandbox::~Sandbox() {
    if (lent_ && ::fchown(lent_.get(), 0, 0) != 0) {
        // It stays nobody's; we are root and can still use and remove it.
    }
}

std::function<void()> Sandbox::enter() const {
    return [this, root = ::geteuid() == 0] { enter_or_die(limits_, landlock_.get(), root); };
}

}  // namespace goldlink::store
