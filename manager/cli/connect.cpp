#include "manager/cli/connect.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <thread>

#include "common/file.hpp"
#include "manager/cli/progress.hpp"
#include "manager/cli/text.hpp"
#include "manager/cli/this_machine.hpp"

namespace goldlink::cli {

namespace {

constexpr std::size_t kMaxTokenFileBytes = 4096;
constexpr std::chrono::milliseconds kFirstPoll{50};
constexpr std::chrono::milliseconds kSlowestPoll{1000};
constexpr std::chrono::seconds kManagerMayBeAway{60};

std::string environment(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
}

std::string trimmed(std::string_view text) {
    constexpr std::string_view kSpace = " \t\r\n";
    const auto first = text.find_first_not_of(kSpace);
    if (first == std::string_view::npos) return {};
    return std::string(text.substr(first, text.find_last_not_of(kSpace) - first + 1));
}

// A token goes into a header line.
Result<std::string> checked_token(std::string token, const std::string& source) {
    for (const char c : token)
        if (c < 0x21 || c > 0x7E)
            return failure(ErrorKind::invalid,
                           fmt::format("{} holds something other than one token", source));
    return token;
}

bool ended(const std::string& state) {
    return state == "done" || state == "failed" || state == "cancelled";
}

}  // namespace

Result<Api> connect(const Session& session) {
    if (auto token = trimmed(environment("GOLDLINK_TOKEN")); !token.empty()) {
        GOLDLINK_TRY_ASSIGN(token, checked_token(std::move(token), "GOLDLINK_TOKEN"));
        return Api(session.url, std::move(token), "GOLDLINK_TOKEN");
    }
    if (!session.token_file.empty()) return connect_to(session.url, session.token_file);
    for (const auto& folder : {environment("GOLDLINK_STATE_DIR"), environment("STATE"),
                               std::string("/var/lib/goldlink")}) {
        if (folder.empty()) continue;
        const auto path = folder + "/admin.token";
        if (::access(path.c_str(), R_OK) != 0) continue;
        GOLDLINK_TRY_ASSIGN(auto content, read_file(path, kMaxTokenFileBytes));
        GOLDLINK_TRY_ASSIGN(auto token, checked_token(trimmed(content), path));
        if (token.empty()) continue;
        // Whoever answers elsewhere would have this server.
        if (!is_this_machine(session.url)) {
            print_note(fmt::format(
                "{} is not sent to {}, which is another machine: give that server's token with "
                "--token-file or GOLDLINK_TOKEN\n",
                path, session.url));
            break;
        }
        return Api(session.url, std::move(token), path);
    }
    return Api(session.url, "", "");
}

Result<Api> connect_to(const std::string& url, const std::string& token_file) {
    if (token_file.empty()) return Api(url, "", "");
    GOLDLINK_TRY_ASSIGN(auto content, read_file(token_file, kMaxTokenFileBytes));
    GOLDLINK_TRY_ASSIGN(auto token, checked_token(trimmed(content), token_file));
    if (token.empty()) return failure(ErrorKind::invalid, fmt::format("{} is empty", token_file));
    return Api(url, std::move(token), token_file);
}

void print_json(const json::value& value) { print(json::serialize(value) + "\n"); }

Result<json::value> follow_task(Api& api, json::value task, const std::string& title) {
    const auto id = text_of(task, "id");
    if (id.empty()) return failure(ErrorKind::invalid, "the server's answer holds no task");
    const auto path = "/tasks/" + http::percent_encode(id);
    Progress progress(title, 0);
    auto pause = kFirstPoll;
    auto last_answer = std::chrono::steady_clock::now();
    while (!ended(text_of(task, "state"))) {
        progress.update(
            static_cast<std::uint64_t>(std::max<std::int64_t>(int_of(task, "done_bytes"), 0)),
            static_cast<std::uint64_t>(std::max<std::int64_t>(int_of(task, "total_bytes"), 0)));
        std::this_thread::sleep_for(pause);
        pause = std::min(pause * 3 / 2, kSlowestPoll);
        auto next = api.get(path);
        const auto now = std::chrono::steady_clock::now();
        if (next) {
            task = std::move(*next);
            last_answer = now;
        } else if (next.error().kind != ErrorKind::unavailable ||
                   now - last_answer > kManagerMayBeAway) {
            return Failure(std::move(next).error().with_context(
                fmt::format("watching task {} (it goes on; 'goldlink task show {}')", id, id)));
        }
    }
    const auto state = text_of(task, "state");
    if (state != "done") {
        const auto why = text_of(task, "error", text_of(task, "message"));
        return failure(state == "cancelled" ? ErrorKind::cancelled : ErrorKind::io,
                       fmt::format("{}: the {} {}{}", title, text_of(task, "kind", "task"),
                                   state == "cancelled" ? "was cancelled" : "failed",
                                   why.empty() ? "" : "\n  why: " + printable(why)));
    }
    const auto total =
        static_cast<std::uint64_t>(std::max<std::int64_t>(int_of(task, "total_bytes"), 0));
    progress.update(total, total);
    progress.finish();
    return task;
}

}  // namespace goldlink::cli
