// Links whose overlays are not there: the disk they are on is not mounted, it cannot be read, or
// somebody moved files away. They are tried again until they open or somebody resets them, so a
// mount that comes late is enough.
#include <fmt/format.h>

#include "common/log.hpp"
#include "target/control/link_table.hpp"

namespace goldlink::control {
namespace {

constexpr std::chrono::seconds kRetryEvery{2};

// What may be otherwise by and by without anybody telling us.
bool may_come_back(ErrorKind kind) {
    return kind == ErrorKind::unavailable || kind == ErrorKind::not_found ||
           kind == ErrorKind::io || kind == ErrorKind::denied;
}

}  // namespace

void LinkTable::note_opened(const LinkPointer& link, const GenerationState& generation,
                            const Result<>& opened) {
    link->state.current = generation;
    if (opened) {
        if (link->waits) log::info("link {} ({}) is ready", link->id, link->state.definition.iqn);
        note_made(link->state.current);
        link->problem.clear();
    } else if (link->problem != opened.error().message) {
        link->problem = opened.error().message;
        log::error("link {} ({}) is not ready: {}", link->id, link->state.definition.iqn,
                   link->problem);
    }
    link->waits = !opened && may_come_back(opened.error().kind);
    list(link);
}

void LinkTable::retry_waiting() {
    std::vector<LinkPointer> waiting;
    {
        const std::lock_guard lock(mutex_);
        for (const auto& [id, link] : links_)
            if (link->waits) waiting.push_back(link);
    }
    bool opened = false;
    for (const LinkPointer& link : waiting) {
        const std::unique_lock operation(link->operation, std::try_to_lock);
        if (!operation || !check_usable(link)) continue;
        {
            const std::lock_guard lock(mutex_);
            if (!link->waits) continue;
        }
        const LinkState state = state_of(link);
        const auto found = found_generation(state.definition);  // the folder may have come by now
        open_current(link, found ? *found : state.current, true);
        const std::lock_guard lock(mutex_);
        opened = opened || !link->waits;
    }
    if (opened) save_behind();
}

void LinkTable::run_retries() {
    retries_ = std::thread([this] {
        for (;;) {
            {
                std::unique_lock lock(retries_mutex_);
                if (retries_end_.wait_for(lock, kRetryEvery, [this] { return retries_ended_; }))
                    return;
            }
            retry_waiting();
        }
    });
}

void LinkTable::stop_retries() {
    {
        const std::lock_guard lock(retries_mutex_);
        retries_ended_ = true;
    }
    retries_end_.notify_all();
    if (retries_.joinable()) retries_.join();
}

}  // namespace goldlink::control
