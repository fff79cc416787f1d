#include "manager/cli/timeline.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "manager/cli/api.hpp"
#include "manager/cli/text.hpp"

namespace goldlink::cli {

namespace {

constexpr std::int64_t kBarCells = 32;

struct Stage {
    std::string name;
    std::string detail;
    std::int64_t after_ms;
};

// What begins at each stage, in the admin's words.
std::string_view meaning(std::string_view stage) {
    static constexpr std::pair<std::string_view, std::string_view> kMeanings[] = {
        {"dhcp", "asked for an address"},  {"nbp", "fetched the boot program"},
        {"ipxe", "iPXE started"},          {"script", "got its boot script"},
        {"login", "iPXE opened the disk"}, {"os_login", "the system opened the disk"},
        {"first_write", "first write"},    {"end", "ended"},
    };
    for (const auto& [name, text] : kMeanings)
        if (name == stage) return text;
    return "";
}

std::vector<Stage> stages_of(const json::value& boot) {
    std::vector<Stage> stages;
    for (const auto& stage : items_of(boot, "stages"))
        stages.push_back(
            {text_of(stage, "stage"), text_of(stage, "detail"), int_of(stage, "after_ms")});
    std::ranges::stable_sort(stages, {}, &Stage::after_ms);
    return stages;
}

}  // namespace

std::string draw_timeline(const json::value& boot) {
    std::string out = fmt::format("boot      {}, {}", format_time(text_of(boot, "started_at")),
                                  printable(text_of(boot, "state", "unknown")));
    for (const char* name : {"firmware", "address"})
        if (const auto text = text_of(boot, name); !text.empty()) out += ", " + printable(text);
    out += '\n';
    if (const auto problem = text_of(boot, "problem"); !problem.empty())
        out += "problem   " + printable(problem) + "\n";
    const auto stages = stages_of(boot);
    if (stages.empty()) return out;

    // The scale ends at the last stage before `end`: hours of use would flatten the boot itself.
    std::int64_t span_ms = 1;
    for (const auto& stage : stages)
        if (stage.name != "end") span_ms = std::max(span_ms, stage.after_ms);
    Table table({"STAGE", "AT", "TOOK", "", "WHAT"});
    for (std::size_t i = 0; i < stages.size(); ++i) {
        const auto& stage = stages[i];
        const bool last = i + 1 == stages.size() || stages[i + 1].name == "end";
        const std::int64_t from =
            std::clamp(stage.after_ms * kBarCells / span_ms, std::int64_t{0}, kBarCells);
        std::string took;
        std::int64_t cells = 1;
        if (!last) {
            const std::int64_t took_ms = stages[i + 1].after_ms - stage.after_ms;
            took = format_duration(std::chrono::milliseconds(took_ms));
            cells = std::max<std::int64_t>(1, stages[i + 1].after_ms * kBarCells / span_ms - from);
        }
        std::string bar(static_cast<std::size_t>(std::min(from, kBarCells)), ' ');
        if (stage.name != "end") bar.append(static_cast<std::size_t>(cells), last ? '|' : '=');
        bar.resize(static_cast<std::size_t>(kBarCells + 1), ' ');
        std::string what(meaning(stage.name));
        if (!stage.detail.empty()) what += (what.empty() ? "" : ": ") + stage.detail;
        table.add({stage.name, format_duration(std::chrono::milliseconds(stage.after_ms)), took,
                   bar, what});
    }
    return out + "\n" + table.to_string();
}

}  // namespace goldlink::cli
