#include "target/usage/reader/confine.hpp"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>

#include "common/seccomp.hpp"

namespace goldlink::usage {
namespace {

// For other calls, about the time zone say, libtsk takes no for an answer.
constexpr std::array kAllowed = {
    SYS_read,          SYS_write,       SYS_writev,      SYS_mmap,         SYS_munmap,
    SYS_mremap,        SYS_mprotect,    SYS_madvise,     SYS_brk,          SYS_futex,
    SYS_clock_gettime, SYS_getrandom,   SYS_gettid,      SYS_rt_sigreturn, SYS_rt_sigprocmask,
    SYS_rt_sigaction,  SYS_sigaltstack, SYS_sched_yield, SYS_exit,         SYS_exit_group};

bool drop_capabilities() {
    if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) return false;
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    const __user_cap_data_struct none[2]{};
    return ::syscall(SYS_capset, &header, none) == 0;
}

}  // namespace

bool confine() {
    return drop_capabilities() && ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 &&
           filter_system_calls(Calls::only_these, kAllowed);
}

}  // namespace goldlink::usage
