#include "common/log.hpp"

#include <spdlog/sinks/stdout_sinks.h>

#include <memory>
#include <string>

namespace goldlink {

void init_log(std::string_view program, std::string_view level) {
    auto logger = std::make_shared<spdlog::logger>(
        std::string(program), std::make_shared<spdlog::sinks::stderr_sink_mt>());
    logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %^%l%$ %n: %v");
    logger->set_level(spdlog::level::from_str(std::string(level)));
    logger->flush_on(spdlog::level::debug);
    spdlog::set_default_logger(std::move(logger));
}

}  // namespace goldlink
