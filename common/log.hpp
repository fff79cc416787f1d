// Logging to stderr through spdlog, one line an event: time, level, program, message.
// Never called per command on the target's hot path. Threads: any.
#pragma once

#include <spdlog/spdlog.h>

#include <string_view>

namespace goldlink {

// Sets the process's program name and level ("debug", "info", "warn", "error"). Call once in main.
void init_log(std::string_view program, std::string_view level = "info");

namespace log = spdlog;  // log::info("link {} reset", id)

}  // namespace goldlink
