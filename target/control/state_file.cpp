#include "target/control/state_file.hpp"

#include "common/file.hpp"

namespace goldlink::control {

Result<> StateFile::save() {
    std::uint64_t ticket = 0;
    {
        const std::lock_guard lock(tickets_);
        ticket = ++requested_;
    }
    const std::lock_guard writer(writing_);
    if (saved_ >= ticket) return {};
    std::uint64_t covered = 0;
    {
        const std::lock_guard lock(tickets_);
        covered = requested_;
    }
    GOLDLINK_TRY(replace_file(path_, snapshot_(), 0600));
    saved_ = covered;
    return {};
}

}  // namespace goldlink::control
