#include "manager/cli/up/processes.hpp"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <charconv>
#include <sstream>
#include <thread>

#include "common/file.hpp"

namespace goldlink::up {

namespace {

constexpr std::size_t kMaxRecordBytes = 64 * 1024;
constexpr std::size_t kMaxStatBytes = 16 * 1024;
constexpr std::chrono::milliseconds kPoll{20};
constexpr std::chrono::seconds kKillGrace{10};

bool wait_gone(const ProcessId& id, std::chrono::milliseconds limit) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (alive(id)) {
        if (std::chrono::steady_clock::now() >= end) return false;
        std::this_thread::sleep_for(kPoll);
    }
    return true;
}

struct Stat {
    std::string state;  // "": there is no such process
    pid_t parent = 0;
    int threads = 0;
    std::uint64_t start_ticks = 0;
};

Stat read_stat(pid_t pid) {
    const auto text = read_file(fmt::format("/proc/{}/stat", pid), kMaxStatBytes);
    if (!text) return {};
    // The second field is the name in parentheses and may hold anything, also ") 1 2".
    const auto name_end = text->rfind(')');
    if (name_end == std::string::npos) return {};
    std::istringstream fields(text->substr(name_end + 1));
    std::string skipped;
    Stat stat;
    fields >> stat.state >> stat.parent;
    for (int field = 5; field < 20; ++field) fields >> skipped;
    fields >> stat.threads >> skipped >> stat.start_ticks;  // fields 20, 21 and 22
    return fields ? stat : Stat{};
}

}  // namespace

std::uint64_t start_ticks(pid_t pid) {
    const Stat stat = read_stat(pid);
    const bool ended = stat.state == "X" || (stat.state == "Z" && stat.threads <= 1);
    return ended ? 0 : stat.start_ticks;
}

pid_t parent_of(pid_t pid) { return read_stat(pid).parent; }

std::string name_of(pid_t pid) {
    auto name = read_file(fmt::format("/proc/{}/comm", pid), kMaxStatBytes);
    if (!name) return {};
    while (!name->empty() && name->back() == '\n') name->pop_back();
    return std::move(*name);
}

std::vector<ProcessId> processes_in(const std::filesystem::path& folder) {
    std::vector<ProcessId> found;
    std::error_code error;
    const auto wanted = std::filesystem::canonical(folder, error);
    if (error) return found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
        const std::string name = entry.path().filename();
        pid_t pid = 0;
        const auto [end, bad] = std::from_chars(name.data(), name.data() + name.size(), pid);
        if (bad != std::errc() || end != name.data() + name.size()) continue;
        std::error_code unreadable;
        if (std::filesystem::read_symlink(entry.path() / "cwd", unreadable) != wanted || unreadable)
            continue;
        if (const auto ticks = start_ticks(pid); ticks != 0) found.push_back({pid, ticks});
    }
    return found;
}

bool end_process(const ProcessId& id, int signal, std::chrono::milliseconds grace) {
    if (!alive(id)) return true;
    ::kill(id.pid, signal);
    ::kill(id.pid, SIGCONT);  // one that was stopped would not hear the signal
    if (wait_gone(id, grace)) return true;
    ::kill(id.pid, SIGKILL);
    return wait_gone(id, kKillGrace);
}

Result<> write_child_records(const std::filesystem::path& path,
                             const std::vector<ChildRecord>& records) {
    std::string content;
    for (const auto& record : records)
        content += fmt::format("{} {} {}\n", record.name, record.id.pid, record.id.start_ticks);
    return replace_file(path, content);
}

std::vector<ChildRecord> read_child_records(const std::filesystem::path& path) {
    std::vector<ChildRecord> records;
    const auto content = read_file(path, kMaxRecordBytes);
    if (!content) return records;
    std::istringstream lines(*content);
    std::string line;
    while (std::getline(lines, line)) {
        std::istringstream fields(line);
        ChildRecord record;
        fields >> record.name >> record.id.pid >> record.id.start_ticks;
        if (fields && record.id.pid > 1 && record.id.start_ticks != 0)
            records.push_back(std::move(record));
    }
    return records;
}

}  // namespace goldlink::up
