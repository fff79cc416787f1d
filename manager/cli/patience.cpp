#include "manager/cli/patience.hpp"

#include <cstdlib>

namespace goldlink::cli {

std::chrono::milliseconds first_pause() {
    constexpr std::chrono::milliseconds kFirstPause{250};
    const char* const text = std::getenv("GOLDLINK_RETRY_PAUSE_MS");
    if (text == nullptr) return kFirstPause;
    return std::chrono::milliseconds(std::clamp(std::atoi(text), 0, 1000));
}

}  // namespace goldlink::cli
