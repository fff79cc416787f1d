#include "common/seccomp.hpp"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#include <array>
#include <cerrno>
#include <cstdint>

namespace goldlink {

namespace {

#if defined(__x86_64__)
constexpr std::uint32_t kAuditArch = AUDIT_ARCH_X86_64;
constexpr std::uint32_t kFirstForeignCall = 0x40000000;  // x32 has the same architecture
#else
#error "add the audit architecture of this machine"
#endif

}  // namespace

bool filter_system_calls(Calls which, std::span<const int> calls) noexcept {
    if (calls.size() > kMaxFilteredCalls) return false;
    std::array<sock_filter, kMaxFilteredCalls + 8> filter{};
    std::size_t n = 0;
    filter[n++] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch));
    filter[n++] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kAuditArch, 1, 0);
    filter[n++] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    filter[n++] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr));
    filter[n++] = BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, kFirstForeignCall, 0, 1);
    filter[n++] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    for (std::size_t i = 0; i < calls.size(); ++i)
        filter[n++] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(calls[i]),
                               static_cast<std::uint8_t>(calls.size() - i), 0);
    const bool only = which == Calls::only_these;
    constexpr std::uint32_t kRefuse = SECCOMP_RET_ERRNO | EPERM;
    filter[n++] = BPF_STMT(BPF_RET | BPF_K, only ? kRefuse : SECCOMP_RET_ALLOW);
    filter[n++] = BPF_STMT(BPF_RET | BPF_K, only ? SECCOMP_RET_ALLOW : kRefuse);
    const sock_fprog program{static_cast<unsigned short>(n), filter.data()};
    return ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

}  // namespace goldlink
