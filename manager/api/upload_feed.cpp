#include "manager/api/upload_feed.hpp"

#include "manager/db/history.hpp"
#include "manager/services.hpp"

namespace goldlink::manager::api {
namespace {

constexpr std::chrono::seconds kProgressEvery{1};

}  // namespace

UploadFeed::UploadFeed(Call& call, const db::Task& task, std::string message,
                       std::int64_t done_bytes)
    : call_(call), task_(task), message_(std::move(message)), done_bytes_(done_bytes) {}

std::uint64_t UploadFeed::declared_length() const {
    return call_.request.body_reader->declared_length();
}

Result<std::size_t> UploadFeed::pass_to(http::SocketStream& out, std::uint64_t at_most) {
    auto count = call_.request.body_reader->pass_to(out, at_most);
    if (!count) {
        // Cancelled by the receiver, which says why.
        if (count.error().kind != ErrorKind::cancelled) broken_ = count.error();
        return count;
    }
    done_bytes_ += static_cast<std::int64_t>(*count);
    const auto now = std::chrono::steady_clock::now();
    if (now - noted_ < kProgressEvery) return count;
    noted_ = now;
    if (const auto cancelled = note(); cancelled && *cancelled) {
        broken_ = Error{ErrorKind::cancelled, "the import was cancelled", 0};
        return Failure(*broken_);
    }
    return count;
}

Result<bool> UploadFeed::note() const {
    return call_.services.pool.run([&](db::Connection& c) -> Result<bool> {
        GOLDLINK_TRY(db::set_task_progress(c, task_.id, done_bytes_, task_.total_bytes, message_));
        GOLDLINK_TRY_ASSIGN(const auto task, db::find_task(c, task_.id));
        return !task || task->cancel_requested;
    });
}

}  // namespace goldlink::manager::api
