#include "manager/cli/up/answer_record.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <string_view>

#include "common/file.hpp"

namespace goldlink::up {
namespace {

constexpr std::size_t kMaxStatusBytes = 16 * 1024;

// The value of "Name:\tvalue" in /proc/PID/status; "" without such a line.
std::string_view status_field(std::string_view status, std::string_view name) {
    const std::string key = fmt::format("\n{}:", name);
    const std::size_t at = status.find(key);
    if (at == std::string_view::npos) return {};
    const std::size_t begin = status.find_first_not_of(" \t", at + key.size());
    if (begin == std::string_view::npos) return {};
    return status.substr(begin, status.find('\n', begin) - begin);
}

}  // namespace

void AnswerRecord::answered(Time now) {
    heard_ = now;
    misses_ = 0;
    silent_for_ = {};
    hung_ = false;
}

void AnswerRecord::missed(Time now, bool own) {
    if (!own || heard_ == Time{}) return answered(now);
    ++misses_;
    silent_for_ = std::chrono::duration_cast<std::chrono::milliseconds>(now - heard_);
    hung_ = misses_ >= limits_.misses && silent_for_ >= limits_.hung_after;
}

DiskSleepers disk_sleepers(pid_t pid) {
    DiskSleepers sleepers;
    std::error_code error;
    for (const auto& thread :
         std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid), error)) {
        const auto status = read_file(thread.path() / "status", kMaxStatusBytes);
        if (!status || !status_field(*status, "State").starts_with("D")) continue;
        const std::string name = thread.path().filename();
        const std::string switches(status_field(*status, "voluntary_ctxt_switches"));
        pid_t id = 0;
        std::from_chars(name.data(), name.data() + name.size(), id);
        sleepers[id] = std::strtoull(switches.c_str(), nullptr, 10);
    }
    return sleepers;
}

bool waited_all_the_time(const DiskSleepers& before, const DiskSleepers& now) {
    for (const auto& [id, switches] : now) {
        const auto found = before.find(id);
        if (found != before.end() && found->second == switches) return true;
    }
    return false;
}

}  // namespace goldlink::up
