#include "manager/cli/progress.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "manager/cli/text.hpp"

namespace goldlink::cli {

namespace {

constexpr std::chrono::milliseconds kRedrawEvery{100};
constexpr std::chrono::seconds kPlainLineEvery{10};
constexpr std::chrono::seconds kPlainLinesApart{1};
// A rate over less time says nothing.
constexpr std::chrono::milliseconds kRateAfter{200};

std::size_t terminal_columns() {
    winsize size{};
    if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20) return 80;
    return size.ws_col;
}

}  // namespace

std::string progress_text(const std::string& title, std::uint64_t done_bytes,
                          std::uint64_t total_bytes, std::uint64_t watched_bytes,
                          std::chrono::milliseconds elapsed, std::size_t columns) {
    const double seconds = static_cast<double>(std::max<std::int64_t>(elapsed.count(), 1)) / 1000;
    const double rate = static_cast<double>(watched_bytes) / seconds;
    std::string tail;
    if (elapsed >= kRateAfter || (done_bytes == total_bytes && elapsed.count() > 0))
        tail = fmt::format(" {:.1f} MB/s", rate / 1e6);
    if (total_bytes == 0) return fmt::format("{}: {}{}", title, format_bytes(done_bytes), tail);

    done_bytes = std::min(done_bytes, total_bytes);
    const double part = static_cast<double>(done_bytes) / static_cast<double>(total_bytes);
    if (done_bytes == total_bytes && watched_bytes < total_bytes)
        tail = fmt::format(" of {}", format_bytes(total_bytes));  // we saw only the end of it
    else if (done_bytes == total_bytes)
        tail += fmt::format(", {} in {}", format_bytes(total_bytes), format_duration(elapsed));
    else if (rate > 0 && elapsed > std::chrono::milliseconds(500)) {
        const double left_seconds = static_cast<double>(total_bytes - done_bytes) / rate;
        constexpr double kWorthSaying = 100 * 3600;
        if (left_seconds < kWorthSaying) {
            const auto left = static_cast<std::int64_t>(left_seconds + 0.5);
            tail += left < 3600 ? fmt::format(", {}:{:02} left", left / 60, left % 60)
                                : fmt::format(", {}:{:02} h left", left / 3600, left / 60 % 60);
        }
    }
    const auto head = fmt::format("{}: {:3.0f} %", title, static_cast<int>(part * 100) * 1.0);
    const std::size_t used = display_width(head) + display_width(tail) + 4;
    if (columns < used + 10) return head + tail;
    const std::size_t cells = std::min<std::size_t>(columns - used, 40);
    const auto full = static_cast<std::size_t>(part * static_cast<double>(cells));
    return fmt::format("{} [{}{}]{}", head, std::string(full, '#'), std::string(cells - full, ' '),
                       tail);
}

Progress::Progress(std::string title, std::uint64_t total_bytes)
    : title_(std::move(title)),
      total_bytes_(total_bytes),
      started_at_(std::chrono::steady_clock::now()),
      drawn_at_(started_at_ - kRedrawEvery),
      terminal_(::isatty(STDERR_FILENO) == 1) {
    if (!terminal_) drawn_at_ = started_at_;
}

Progress::~Progress() {
    if (terminal_ && !finished_ && watched_) std::fputc('\n', stderr);
}

void Progress::update(std::uint64_t done_bytes, std::uint64_t total_bytes) {
    if (!watched_) {
        watched_ = true;
        first_bytes_ = done_bytes;
    }
    total_bytes_ = total_bytes;
    done_bytes_ = std::max(done_bytes, done_bytes_);
    const auto now = std::chrono::steady_clock::now();
    if (terminal_) {
        if (now - drawn_at_ >= kRedrawEvery) draw(false);
        return;
    }
    const std::uint64_t tenth = total_bytes_ == 0 ? 0 : done_bytes_ * 10 / total_bytes_;
    // The last tenth is finish()'s line.
    const bool due = tenth > drawn_tenth_ && tenth < 10 && now - drawn_at_ >= kPlainLinesApart;
    if (due || now - drawn_at_ >= kPlainLineEvery) {
        drawn_tenth_ = tenth;
        draw(false);
    }
}

void Progress::finish() {
    if (finished_) return;
    draw(true);
    finished_ = true;
}

void Progress::draw(bool final) {
    drawn_at_ = std::chrono::steady_clock::now();
    const auto elapsed =
        std::chrono::duration_cast<std::chrono::milliseconds>(drawn_at_ - started_at_);
    const auto text = progress_text(title_, done_bytes_, total_bytes_, done_bytes_ - first_bytes_,
                                    elapsed, terminal_ ? terminal_columns() : 0);
    if (terminal_)
        std::fputs(fmt::format("\r{}\033[K{}", text, final ? "\n" : "").c_str(), stderr);
    else
        std::fputs((text + "\n").c_str(), stderr);
    std::fflush(stderr);
}

}  // namespace goldlink::cli
