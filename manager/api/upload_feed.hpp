// A request's body on its way to the target, for an import's task: notes progress with the task
// each second, and ends when the task was cancelled. A failure of the registry does not end it.
// On the request's thread.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "common/http/body.hpp"
#include "manager/api/routes.hpp"
#include "manager/db/rows.hpp"

namespace goldlink::manager::api {

class UploadFeed final : public http::BodySource {
  public:
    // `done_bytes`: what arrived before. Call and task outlive it.
    UploadFeed(Call& call, const db::Task& task, std::string message, std::int64_t done_bytes = 0);

    std::uint64_t declared_length() const override;
    Result<std::size_t> pass_to(http::SocketStream& out, std::uint64_t at_most) override;

    Result<bool> note() const;  // true: cancelled
    // Why this side ended it, kind `cancelled` when the import was; nullopt when it did not.
    const std::optional<Error>& broken() const { return broken_; }

  private:
    Call& call_;
    const db::Task& task_;
    const std::string message_;
    std::int64_t done_bytes_;
    std::chrono::steady_clock::time_point noted_ = std::chrono::steady_clock::now();
    std::optional<Error> broken_;
};

}  // namespace goldlink::manager::api
