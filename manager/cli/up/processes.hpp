// Processes that an earlier `goldlink up` left behind, when it was killed: recognised without
// mistaking a stranger that got the same pid, and ended before the ports and files are used again.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "common/result.hpp"

namespace goldlink::up {

struct ProcessId {
    pid_t pid = 0;
    std::uint64_t start_ticks = 0;  // /proc/PID/stat field 22: with the pid, unique since boot
};

// 0 when there is no such process, or only its unreaped corpse. One whose first thread has ended
// while others are still ending is no corpse yet: it may hold its ports and files.
std::uint64_t start_ticks(pid_t pid);
inline bool alive(const ProcessId& id) {
    return id.start_ticks != 0 && start_ticks(id.pid) == id.start_ticks;
}

// Every process whose working folder is `folder`: PostgreSQL's postmaster and all its backends
// stay in their data folder.
std::vector<ProcessId> processes_in(const std::filesystem::path& folder);

// The process that started it, or whoever inherited it; 0: unknown.
pid_t parent_of(pid_t pid);
std::string name_of(pid_t pid);  // at most 15 bytes of it (proc(5), comm); "": unknown

// Sends `signal` (0: none, it is about to end by itself), waits up to `grace`, then SIGKILL. False
// when it lives on even so.
bool end_process(const ProcessId& id, int signal, std::chrono::milliseconds grace);

// The record of our children, so that the next run finds them. Rewritten whole on each change.
struct ChildRecord {
    std::string name;
    ProcessId id;
};
Result<> write_child_records(const std::filesystem::path& path,
                             const std::vector<ChildRecord>& records);
// Lines that do not parse are left out: the file only helps.
std::vector<ChildRecord> read_child_records(const std::filesystem::path& path);

}  // namespace goldlink::up
