#include "target/control/serving_problems.hpp"

#include <fmt/format.h>

namespace goldlink::control {
namespace {

std::string name_of(const LinkView& view) {
    const LinkDefinition& link = view.state.definition;
    return link.alias.empty() ? link.iqn : link.alias;
}

}  // namespace

std::vector<Problem> ServingProblems::list() {
    const std::lock_guard lock(mutex_);
    look();
    return found_;
}

std::size_t ServingProblems::ready() {
    const std::lock_guard lock(mutex_);
    look();
    return ready_;
}

void ServingProblems::look() {
    const auto now = std::chrono::steady_clock::now();
    if (looked_ != std::chrono::steady_clock::time_point{} && now - looked_ < kEvery) return;
    looked_ = now;
    const auto views = links_.view_all();
    std::size_t failed = 0;
    std::string first_failed, first_unready;
    ready_ = 0;
    for (const LinkView& view : views) {
        if (view.report.ready)
            ++ready_;
        else if (first_unready.empty())
            first_unready = fmt::format("{}: {}", name_of(view), view.report.problem);
        if (!view.report.overlay.storage_failed) continue;
        if (++failed == 1) first_failed = name_of(view);
    }
    found_.clear();
    if (ready_ < views.size())
        found_.push_back({"links",
                          fmt::format("{} of {} links take no logins; the first is {}",
                                      views.size() - ready_, views.size(), first_unready),
                          "'goldlink link ls' shows them, 'goldlink link show LINK' what each "
                          "needs"});
    if (failed > 0)
        found_.push_back({"storage",
                          fmt::format("storage could not keep what was written to the overlays of "
                                      "{} links, {} among them; writes to these fail",
                                      failed, first_failed),
                          "the system's log ('dmesg') names the disk; when it works again, start "
                          "goldlink-target again"});
}

}  // namespace goldlink::control
