// Progress of long work on stderr. On a terminal one line is redrawn: bar, percent, rate, time
// left. Elsewhere (logs, CI) a plain line comes each tenth of the way, at most one a second, or
// each 10 seconds. One thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace goldlink::cli {

class Progress {
  public:
    Progress(std::string title, std::uint64_t total_bytes);
    ~Progress();  // ends the terminal's line
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;

    // `total_bytes` may become known, or change, on the way; 0 is unknown.
    void update(std::uint64_t done_bytes, std::uint64_t total_bytes);
    // Draws the last state and ends the line.
    void finish();

  private:
    void draw(bool final);

    std::string title_;
    std::uint64_t total_bytes_;
    std::uint64_t done_bytes_ = 0;
    std::uint64_t first_bytes_ = 0;  // done before we began to watch: not part of the rate
    bool watched_ = false;
    std::chrono::steady_clock::time_point started_at_;
    std::chrono::steady_clock::time_point drawn_at_;
    std::uint64_t drawn_tenth_ = 0;
    bool terminal_;
    bool finished_ = false;
};

// The text of one state: "win11: 42 % [########            ] 118.2 MB/s, 0:12 left". `columns` 0
// leaves the bar out. Pure.
std::string progress_text(const std::string& title, std::uint64_t done_bytes,
                          std::uint64_t total_bytes, std::uint64_t watched_bytes,
                          std::chrono::milliseconds elapsed, std::size_t columns);

}  // namespace goldlink::cli
