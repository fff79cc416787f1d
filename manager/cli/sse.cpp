#include "manager/cli/sse.hpp"

namespace goldlink::cli {

namespace {
constexpr std::size_t kMaxEventBytes = 1 << 20;
}

bool SseParser::feed(std::string_view bytes, const std::function<bool(const Event&)>& on_event) {
    rest_ += bytes;
    std::size_t start = 0;
    for (;;) {
        const auto end = rest_.find('\n', start);
        if (end == std::string::npos) break;
        std::string_view line(rest_.data() + start, end - start);
        if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
        start = end + 1;
        if (!line.empty()) {
            take_line(line);
            continue;
        }
        if (has_data_ && !on_event(event_)) return false;
        event_.data.clear();  // the id stays: it is the stream's last one
        has_data_ = false;
    }
    rest_.erase(0, start);
    return rest_.size() + event_.data.size() <= kMaxEventBytes;
}

void SseParser::take_line(std::string_view line) {
    if (line.front() == ':') return;
    const auto colon = line.find(':');
    const auto field = line.substr(0, colon);
    auto value = colon == std::string_view::npos ? std::string_view() : line.substr(colon + 1);
    if (!value.empty() && value.front() == ' ') value.remove_prefix(1);
    if (field == "id") event_.id = value;
    if (field == "data") {
        if (has_data_) event_.data += '\n';
        event_.data += value;
        has_data_ = true;
    }
}

}  // namespace goldlink::cli
