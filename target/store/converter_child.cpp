#include "target/store/converter_child.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <mutex>
#include <optional>

#include "target/store/space_account.hpp"

namespace goldlink::store {

namespace {

using std::chrono::milliseconds;

constexpr std::size_t kMaxOutputBytes = 1 << 20;
constexpr milliseconds kPollInterval{100};  // for cancel
constexpr milliseconds kGrace{1000};

// "    (12.34/100%)", what `qemu-img -p` writes; nullopt for any other line.
std::optional<double> parse_percent(std::string_view line) {
    const auto open = line.find('('), slash = line.find("/100%)");
    if (open == std::string_view::npos || slash == std::string_view::npos || slash < open)
        return {};
    double percent = 0;
    const auto text = line.substr(open + 1, slash - open - 1);
    if (std::from_chars(text.data(), text.data() + text.size(), percent).ec != std::errc())
        return {};
    return std::clamp(percent, 0.0, 100.0);
}

}  // namespace

std::string ConverterEnd::why(std::string_view program) const {
    std::string text = output.substr(0, 600);
    while (!text.empty() && text.back() == '\n') text.pop_back();
    std::replace(text.begin(), text.end(), '\n', ' ');
    if (text.empty()) text = "no message";
    return fmt::format("{} ({} {})", text, program, status.describe());
}

Result<ConverterEnd> run_converter(const ConverterRun& what, Progress& progress) {
    GOLDLINK_TRY_ASSIGN(const auto sandbox,
                        Sandbox::make(what.readable, what.writable, what.limits));
    std::mutex mutex;
    std::string output;
    const std::uint64_t before = progress.done_bytes;
    ChildOptions options;
    options.argv = what.argv;
    options.extra_environment = {"LC_ALL=" + what.locale};
    options.before_exec = [enter = sandbox->enter(), &what] {
        if (what.prepare) what.prepare();
        enter();
        if (what.work) ::_exit(what.work());
    };
    options.on_line = [&](std::string_view line) {
        if (const auto percent = parse_percent(line)) {
            progress.done_bytes =
                before + static_cast<std::uint64_t>(static_cast<double>(what.progress_bytes) *
                                                    *percent / 100);
            return;
        }
        const std::lock_guard lock(mutex);
        if (output.size() + line.size() < kMaxOutputBytes) output.append(line).push_back('\n');
    };
    std::optional<ExitStatus> status;
    {
        auto child = Child::spawn(std::move(options));
        if (!child)
            return Failure(std::move(child).error().with_context(fmt::format(
                "cannot start {}, which reads disk images (packages qemu-utils, gzip, bzip2, "
                "xz-utils, zstd and libarchive-tools)",
                what.argv[0])));
        if (what.attend) {
            if (auto attended = what.attend(); !attended) {
                child->stop(kGrace);
                return Failure(std::move(attended).error());
            }
        }
        while (!(status = child->wait(kPollInterval))) {
            auto fits = progress.space != nullptr ? progress.space->check() : Result<>();
            if (!progress.cancel && fits) continue;
            child->stop(kGrace);
            if (!fits) return fits.map([] { return ConverterEnd{}; });
            return failure(ErrorKind::cancelled, "the conversion was cancelled");
        }
    }  // its reader thread has ended: output is complete
    if (status->code == 0) progress.done_bytes = before + what.progress_bytes;
    return ConverterEnd{*status, std::move(output)};
}

SandboxLimits converter_limits(std::uint64_t disk_bytes) {
    SandboxLimits limits;
    limits.cpu_seconds = 120 + disk_bytes / (20ull << 20);  // 20 MB/s at the very least
    limits.file_bytes = disk_bytes;
    return limits;
}

}  // namespace goldlink::store
