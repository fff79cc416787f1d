#include "target/store/unpack.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "common/digest.hpp"
#include "common/file.hpp"
#include "target/store/archive.hpp"
#include "target/store/converter_child.hpp"
#include "target/store/space_account.hpp"

namespace goldlink::store {

namespace {

constexpr std::size_t kBlockBytes = 64 * 1024;
constexpr std::uint64_t kCheckEveryBytes = 64ull << 20;
constexpr int kPollMilliseconds = 100;  // for cancel

std::vector<std::string> program_of(const std::string& compression) {
    if (compression == "gzip") return {"gzip", "-dc"};
    if (compression == "bzip2") return {"bzip2", "-dc"};
    // As `zstd --ultra --long=31` and `xz -9e` need at most.
    if (compression == "zstd") return {"zstd", "-dcq", "--no-progress", "--memory=2048MB"};
    return {"xz", "-dcq", "--memlimit-decompress=1GiB"};
}

// Takes what comes out of the pipe, a block at a time.
class Unpacking {
  public:
    Unpacking(int pipe, int out, const std::string& name, const std::filesystem::path& folder,
              const UnpackLimits& limits, Progress& progress)
        : pipe_(pipe),
          out_(out),
          name_(name),
          folder_(folder),
          limits_(limits),
          progress_(progress),
          buffer_(kBlockBytes) {}

    Result<> run() {
        for (;;) {
            GOLDLINK_TRY_ASSIGN(const std::size_t n, fill());
            if (n == 0) break;
            GOLDLINK_TRY(take(n));
            if (n < buffer_.size()) break;
        }
        if (::ftruncate(out_, static_cast<off_t>(total_)) != 0)
            return system_failure(fmt::format("cannot size the unpacked {}", name_));
        return {};
    }

  private:
    Result<std::size_t> fill() {
        std::size_t filled = 0;
        while (filled < buffer_.size()) {
            if (progress_.cancel) return failure(ErrorKind::cancelled, "the import was cancelled");
            pollfd polled{pipe_, POLLIN, 0};
            const int ready = ::poll(&polled, 1, kPollMilliseconds);
            if (ready == 0 || (ready < 0 && errno == EINTR)) continue;
            const ssize_t n = ::read(pipe_, buffer_.data() + filled, buffer_.size() - filled);
            if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
            if (n < 0) return system_failure(fmt::format("cannot read the unpacked {}", name_));
            if (n == 0) break;
            filled += static_cast<std::size_t>(n);
        }
        return filled;
    }

    Result<> take(std::size_t length) {
        if (length > limits_.max_bytes - total_)
            return failure(
                ErrorKind::invalid,
                fmt::format("{} unpacks to more than {} bytes, which is larger than any disk "
                            "image taken compressed; unpack it yourself if it is sound",
                            name_, limits_.max_bytes));
        std::fill(buffer_.begin() + static_cast<std::ptrdiff_t>(length), buffer_.end(),
                  std::uint8_t{0});
        if (!all_zero(buffer_)) GOLDLINK_TRY(write(length));
        total_ += length;
        progress_.done_bytes += length;
        return {};
    }

    Result<> write(std::size_t length) {
        written_ += length;
        if (written_ >= next_check_) {
            GOLDLINK_TRY(check_space());
            next_check_ = written_ + kCheckEveryBytes;
        }
        return write_at(out_, Bytes(buffer_).first(length), total_,
                        fmt::format("the unpacked {}", name_));
    }

    Result<> check_space() const {
        if (progress_.space != nullptr) return progress_.space->check();
        struct statvfs status {};
        if (::fstatvfs(out_, &status) != 0) return {};
        if (std::uint64_t{status.f_bavail} * status.f_frsize >= limits_.spare_bytes) return {};
        return failure(ErrorKind::exhausted,
                       fmt::format("the filesystem of {} is nearly full while {} is unpacked ({} "
                                   "bytes so far); remove versions or add space",
                                   folder_.string(), name_, total_));
    }

    const int pipe_, out_;
    const std::string& name_;
    const std::filesystem::path folder_;
    const UnpackLimits limits_;
    Progress& progress_;
    std::vector<std::uint8_t> buffer_;
    std::uint64_t total_ = 0, written_ = 0, next_check_ = 0;
};

// Runs the program with the packed file as its input, and writes its output to `out`.
Result<> pour(int fd, const std::string& name, const std::string& packing,
              const std::vector<std::string>& program, const std::filesystem::path& out,
              const UnpackLimits& limits, Progress& progress) {
    const FileDescriptor target(::open(out.c_str(), O_WRONLY | O_CLOEXEC));
    if (!target) return system_failure(fmt::format("cannot open {}", out.string()));
    int pair[2];
    if (::pipe2(pair, O_CLOEXEC) != 0) return system_failure("cannot make a pipe");
    const FileDescriptor reading(pair[0]);
    FileDescriptor writing(pair[1]);
    ConverterRun run;
    run.limits = converter_limits(limits.max_bytes);
    run.limits.file_bytes = 0;
    run.argv = program;
    run.locale = kArchiveLocale;
    run.prepare = [fd, pipe = pair[1]] {
        if (::lseek(fd, 0, SEEK_SET) != 0 || ::dup2(fd, 0) < 0 || ::dup2(pipe, 1) < 0) ::_exit(126);
    };
    run.attend = [&]() -> Result<> {
        writing.reset();  // the child's end is the last: the pipe ends with it
        return Unpacking(reading.get(), target.get(), name, out.parent_path(), limits, progress)
            .run();
    };
    GOLDLINK_TRY_ASSIGN(const ConverterEnd ended, run_converter(run, progress));
    if (ended.status.code == 0) return {};
    return failure(ErrorKind::invalid,
                   fmt::format("{} is damaged, cut short or no whole {} file: {}", name, packing,
                               ended.why(run.argv[0])));
}

}  // namespace

Result<> unpack(int fd, const std::string& name, const std::string& compression,
                const std::filesystem::path& out, const UnpackLimits& limits, Progress& progress) {
    return pour(fd, name, compression, program_of(compression), out, limits, progress);
}

Result<> extract(int fd, const std::string& name, const std::string& archive,
                 const std::string& member, const std::filesystem::path& out,
                 const UnpackLimits& limits, Progress& progress) {
    return pour(fd, name, archive, archive_program({"-xOqf", "-", "--", archive_pattern(member)}),
                out, limits, progress);
}

}  // namespace goldlink::store
