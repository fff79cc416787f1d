#include "common/log.hpp"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <memory>
#include <string>

#include "common/clean_text.hpp"

namespace goldlink {
namespace {

// The message of a line. Much of what is logged quotes peers: none of it may end the line, write
// one of its own or drive a terminal.
class CleanMessage final : public spdlog::custom_flag_formatter {
  public:
    void format(const spdlog::details::log_msg& message, const std::tm&,
                spdlog::memory_buf_t& line) override {
        constexpr std::size_t kMaxBytes = 16 * 1024;
        const std::string_view text(message.payload.data(), message.payload.size());
        if (text.size() <= kMaxBytes && is_clean(text))
            line.append(text.data(), text.data() + text.size());
        else
            append(line, clean_text(text, kMaxBytes));
    }
    std::unique_ptr<custom_flag_formatter> clone() const override {
        return std::make_unique<CleanMessage>();
    }

  private:
    static void append(spdlog::memory_buf_t& line, const std::string& text) {
        line.append(text.data(), text.data() + text.size());
    }
};

}  // namespace

void init_log(std::string_view program, std::string_view level) {
    auto logger = std::make_shared<spdlog::logger>(
        std::string(program), std::make_shared<spdlog::sinks::stderr_sink_mt>());
    auto formatter = std::make_unique<spdlog::pattern_formatter>();
    formatter->add_flag<CleanMessage>('*').set_pattern("%Y-%m-%dT%H:%M:%S.%e %^%l%$ %n: %*");
    logger->set_formatter(std::move(formatter));
    logger->set_level(spdlog::level::from_str(std::string(level)));
    logger->flush_on(spdlog::level::debug);
    spdlog::set_default_logger(std::move(logger));
}

}  // namespace goldlink
