#include "target/store/image_convert.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <deque>
#include <mutex>
#include <vector>

#include "common/child.hpp"
#include "common/json.hpp"
#include "target/store/image_format.hpp"
#include "target/store/manifest.hpp"
#include "target/store/sandbox.hpp"

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

struct Run {
    std::filesystem::path readable;
    std::filesystem::path writable;
    SandboxLimits limits;
    std::vector<std::string> argv;
    std::uint64_t progress_bytes = 0;  // what 100 % adds to done_bytes
};

struct Ended {
    ExitStatus status;
    std::string output;  // without progress lines
};

Result<Ended> run(const Run& what, Progress& progress) {
    GOLDLINK_TRY_ASSIGN(const auto sandbox,
                        Sandbox::make(what.readable, what.writable, what.limits));
    std::mutex mutex;
    std::string output;
    const std::uint64_t before = progress.done_bytes;
    ChildOptions options;
    options.argv = what.argv;
    options.extra_environment = {"LC_ALL=C"};
    options.before_exec = sandbox->enter();
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
            return Failure(std::move(child).error().with_context(
                "cannot start qemu-img, which reads disk images that are not raw (package "
                "qemu-utils)"));
        while (!(status = child->wait(kPollInterval))) {
            if (!progress.cancel) continue;
            child->stop(kGrace);
            return failure(ErrorKind::cancelled, "the conversion was cancelled");
        }
    }  // its reader thread has ended: output is complete
    if (status->code == 0) progress.done_bytes = before + what.progress_bytes;
    return Ended{*status, std::move(output)};
}

// The part of qemu-img's output that says why, in one line.
std::string why_of(const Ended& ended) {
    std::string why = ended.output.substr(0, 600);
    while (!why.empty() && why.back() == '\n') why.pop_back();
    std::replace(why.begin(), why.end(), '\n', ' ');
    if (why.empty()) why = "no message";
    return fmt::format("{} (qemu-img {})", why, ended.status.describe());
}

SandboxLimits limits_for(std::uint64_t disk_bytes) {
    SandboxLimits limits;
    limits.cpu_seconds = 120 + disk_bytes / (20ull << 20);  // 20 MB/s at the very least
    limits.file_bytes = disk_bytes;
    return limits;
}

// A VHD's size is what its footer says, not its rounding to cylinders (which loses the disk's end).
std::string source_of(const std::filesystem::path& file, const std::string& format) {
    const std::string driver(qemu_format(format));
    std::string escaped;
    for (const char c : file.string()) escaped.append(c == ',' ? ",," : std::string(1, c));
    return fmt::format("driver={}{},file.driver=file,file.locking=off,file.filename={}", driver,
                       driver == "vpc" ? ",force_size_calc=current_size" : "", escaped);
}

struct ImageInfo {
    std::uint64_t virtual_size_bytes = 0;
};

Result<ImageInfo> examine(const std::filesystem::path& source, const std::string& name,
                          const std::string& format, Progress& progress) {
    GOLDLINK_TRY_ASSIGN(
        const Ended ended,
        run({source,
             {},
             limits_for(0),
             {"qemu-img", "info", "--output=json", "--image-opts", source_of(source, format)}},
            progress));
    if (ended.status.code != 0)
        return failure(ErrorKind::invalid,
                       fmt::format("{} is damaged or is no {}: {}", name, format, why_of(ended)));
    GOLDLINK_TRY_ASSIGN(const auto info, json::parse_object(ended.output));
    for (const std::string_view reference :
         {"backing-filename", "full-backing-filename", "data-file"})
        if (info.contains(reference))
            return failure(
                ErrorKind::invalid,
                fmt::format("{} needs another file, which an import never opens; make it whole "
                            "first with qemu-img convert",
                            name));
    const auto encrypted = json::optional_bool(info, "encrypted");
    if (encrypted && encrypted->value_or(false))
        return failure(ErrorKind::invalid, fmt::format("{} is encrypted; decrypt it first", name));
    GOLDLINK_TRY_ASSIGN(
        const std::int64_t size,
        json::int_field(info, "virtual-size", 1, static_cast<std::int64_t>(kMaxDiskBytes)));
    return ImageInfo{static_cast<std::uint64_t>(size)};
}

// Reads of clusters that lie past a cut file's end give zeros, not errors: so check first.
Result<> check_consistency(const std::filesystem::path& source, const std::string& name,
                           const std::string& format, std::uint64_t disk_bytes,
                           Progress& progress) {
    GOLDLINK_TRY_ASSIGN(const Ended ended,
                        run({source,
                             {},
                             limits_for(disk_bytes),
                             {"qemu-img", "check", "--image-opts", source_of(source, format)}},
                            progress));
    constexpr int kLeaksOnly = 3, kNotSupported = 63;
    if (ended.status.code == 0 || ended.status.code == kLeaksOnly ||
        ended.status.code == kNotSupported)
        return {};
    return failure(ErrorKind::invalid,
                   fmt::format("{} is damaged or cut short: {}", name, why_of(ended)));
}

}  // namespace

Result<> convert_to_raw(const std::filesystem::path& source, const std::string& name,
                        const std::string& format, const std::filesystem::path& raw,
                        Progress& progress) {
    const auto absolute = std::filesystem::absolute(source);
    GOLDLINK_TRY_ASSIGN(const ImageInfo info, examine(absolute, name, format, progress));
    const std::uint64_t size = (info.virtual_size_bytes + 511) / 512 * 512;
    GOLDLINK_TRY(check_consistency(absolute, name, format, size, progress));
    progress.total_bytes = size * 2;
    if (::truncate(raw.c_str(), static_cast<off_t>(size)) != 0)
        return system_failure(fmt::format("cannot size {}", raw.string()));
    GOLDLINK_TRY_ASSIGN(const Ended ended,
                        run({absolute,
                             raw,
                             limits_for(size),
                             {"qemu-img", "convert", "-p", "-n", "--target-is-zero", "--image-opts",
                              "-O", "raw", source_of(absolute, format), raw.string()},
                             size},
                            progress));
    if (ended.status.code == 0) return {};
    if (ended.output.find("No space left") != std::string::npos)
        return failure(
            ErrorKind::exhausted,
            fmt::format("the filesystem of {} is full while {} is converted; remove versions or "
                        "add space",
                        raw.parent_path().string(), name));
    return failure(ErrorKind::invalid,
                   fmt::format("{} cannot be read as {}: {}", name, format, why_of(ended)));
}

Result<> convert_from_raw(const std::filesystem::path& raw, std::uint64_t size_bytes,
                          const std::filesystem::path& target, const std::string& format,
                          Progress& progress) {
    const auto absolute = std::filesystem::absolute(target);
    SandboxLimits limits = limits_for(size_bytes);
    limits.file_bytes = size_bytes + size_bytes / 16 + (64ull << 20);  // tables of the format
    std::vector<std::string> argv = {
        "qemu-img", "convert", "-p", "-f", "raw", "-O", std::string(qemu_format(format))};
    if (format == "vhd") argv.insert(argv.end(), {"-o", "force_size=on"});
    argv.insert(argv.end(), {raw.string(), absolute.string()});
    GOLDLINK_TRY_ASSIGN(const Ended ended,
                        run({raw, absolute, limits, argv, size_bytes}, progress));
    if (ended.status.code == 0) return {};
    return failure(
        ended.output.find("No space left") != std::string::npos ? ErrorKind::exhausted
                                                                : ErrorKind::io,
        fmt::format("cannot write {} as {}: {}", target.string(), format, why_of(ended)));
}

}  // namespace goldlink::store
