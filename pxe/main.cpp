#include <cstdio>

#include "common/log.hpp"
#include "common/signals.hpp"
#include "pxe/daemon.hpp"

int main(int argc, char** argv) {
    goldlink::block_termination_signals();
    const auto [options, exit_code] = goldlink::pxe::parse_command_line(argc, argv);
    if (exit_code) return *exit_code;
    goldlink::init_log("goldlink-pxe", options.log_level);
    const auto daemon = goldlink::pxe::Daemon::start(options);
    if (!daemon) {
        goldlink::log::error("{}", daemon.error().message);
        return 1;
    }
    std::puts("ready");
    std::fflush(stdout);
    goldlink::wait_for_termination();
    goldlink::log::info("stopping");
    return 0;
}
