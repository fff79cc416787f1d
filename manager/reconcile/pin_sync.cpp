#include "manager/reconcile/pin_sync.hpp"

#include "common/json.hpp"
#include "common/log.hpp"
#include "manager/db/images.hpp"

namespace goldlink::manager {
namespace {

constexpr std::chrono::seconds kPushEvery{10};
constexpr std::chrono::seconds kRetryEvery{2};

}  // namespace

Result<> PinSync::round(db::Connection& c) {
    GOLDLINK_TRY_ASSIGN(auto wanted, db::pinned_digests(c));
    const bool due = Clock::now() >= next_try_;
    if (!due && (!pushed_ || *pushed_ == wanted)) return {};
    json::array versions;
    for (const std::string& digest : wanted) versions.emplace_back(digest);
    const auto answer = services_.target.call(
        "PUT", "/pins", json::serialize(json::object{{"versions", std::move(versions)}}),
        std::chrono::seconds(10));
    if (!answer) {
        if (!answer.error().no_answer())
            log::warn("the target does not pin versions: {}", answer.error().detail);
        pushed_.reset();
        next_try_ = Clock::now() + kRetryEvery;
        return {};
    }
    pushed_ = std::move(wanted);
    next_try_ = Clock::now() + kPushEvery;
    return {};
}

}  // namespace goldlink::manager
