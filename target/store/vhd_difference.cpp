#include "target/store/vhd_difference.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "common/bytes.hpp"
#include "common/file.hpp"
#include "target/store/converter_child.hpp"

namespace goldlink::store {

namespace {

constexpr std::uint64_t kSectorBytes = 512;
constexpr std::uint32_t kNotAllocated = 0xffffffff;
constexpr std::size_t kTableBytes = 16 * 1024;  // of the table at a time
constexpr std::size_t kMaxBitmapBytes = (64 << 20) / kSectorBytes / 8;
constexpr std::size_t kCopyBytes = 64 * 1024;

enum MergeEnd { kDone = 0, kCutShort = 10, kReadFailed = 11, kDiskFull = 12, kWriteFailed = 13 };

// Runs in the child: system calls and the buffers below, nothing else.
class Merge {
  public:
    Merge(int source, int raw, const VhdDifference& what, std::uint64_t disk_bytes)
        : source_(source), raw_(raw), what_(what), disk_bytes_(disk_bytes) {}

    int run() {
        const std::uint64_t blocks = (disk_bytes_ + what_.block_bytes - 1) / what_.block_bytes;
        int told = -1;
        for (std::uint64_t block = 0; block < blocks; ++block) {
            const std::size_t within = block % (kTableBytes / 4);
            if (within == 0) {
                const std::size_t length = static_cast<std::size_t>(
                    std::min<std::uint64_t>(kTableBytes, (blocks - block) * 4));
                if (const int end = read(what_.table_offset_bytes + block * 4, table_, length))
                    return end;
            }
            const std::uint32_t sector = load_be32(table_ + within * 4);
            if (sector != kNotAllocated)
                if (const int end = merge_block(block, sector * kSectorBytes)) return end;
            if (const int percent = static_cast<int>((block + 1) * 100 / blocks); percent != told)
                tell(told = percent);
        }
        return kDone;
    }

  private:
    int read(std::uint64_t offset, std::uint8_t* out, std::size_t length) const {
        while (length > 0) {
            const ssize_t n = ::pread(source_, out, length, static_cast<off_t>(offset));
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) return kReadFailed;
            if (n == 0) return kCutShort;
            out += n;
            length -= static_cast<std::size_t>(n);
            offset += static_cast<std::uint64_t>(n);
        }
        return kDone;
    }

    int write(std::uint64_t offset, const std::uint8_t* from, std::size_t length) const {
        while (length > 0) {
            const ssize_t n = ::pwrite(raw_, from, length, static_cast<off_t>(offset));
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) return errno == ENOSPC || errno == EDQUOT ? kDiskFull : kWriteFailed;
            from += n;
            length -= static_cast<std::size_t>(n);
            offset += static_cast<std::uint64_t>(n);
        }
        return kDone;
    }

    // A block is a bitmap, padded to sectors, then its data. A set bit: the sector is the child's.
    int merge_block(std::uint64_t block, std::uint64_t offset) {
        const std::uint64_t sectors = what_.block_bytes / kSectorBytes;
        const std::size_t bitmap_bytes = static_cast<std::size_t>((sectors + 7) / 8);
        if (const int end = read(offset, bitmap_, bitmap_bytes)) return end;
        const std::uint64_t data =
            offset + (bitmap_bytes + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
        const std::uint64_t at = block * what_.block_bytes;
        const std::uint64_t here =
            std::min(sectors, (disk_bytes_ - at + kSectorBytes - 1) / kSectorBytes);
        for (std::uint64_t first = 0; first < here;) {
            if (!is_set(first)) {
                ++first;
                continue;
            }
            std::uint64_t end = first + 1;
            while (end < here && is_set(end)) ++end;
            for (; first < end;) {
                const std::uint64_t count = std::min(end - first, kCopyBytes / kSectorBytes);
                const auto length = static_cast<std::size_t>(count * kSectorBytes);
                if (const int failed = read(data + first * kSectorBytes, copy_, length))
                    return failed;
                if (const int failed = write(at + first * kSectorBytes, copy_, length))
                    return failed;
                first += count;
            }
        }
        return kDone;
    }

    bool is_set(std::uint64_t sector) const {
        return (bitmap_[sector / 8] & (0x80u >> (sector % 8))) != 0;
    }

    // "(42/100%)", which the parent reads as progress.
    static void tell(int percent) {
        char line[16];
        std::size_t n = 0;
        line[n++] = '(';
        if (percent >= 100) line[n++] = '1';
        if (percent >= 10) line[n++] = static_cast<char>('0' + percent / 10 % 10);
        line[n++] = static_cast<char>('0' + percent % 10);
        for (const char c : {'/', '1', '0', '0', '%', ')', '\n'}) line[n++] = c;
        [[maybe_unused]] const ssize_t written = ::write(1, line, n);
    }

    const int source_, raw_;
    const VhdDifference what_;
    const std::uint64_t disk_bytes_;
    std::uint8_t table_[kTableBytes];
    std::uint8_t bitmap_[kMaxBitmapBytes];
    std::uint8_t copy_[kCopyBytes];
};

}  // namespace

Result<> apply_vhd_difference(const std::filesystem::path& source, const std::string& name,
                              const ImageKind& kind, const std::filesystem::path& raw,
                              Progress& progress) {
    const FileDescriptor from(::open(source.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!from) return system_failure(fmt::format("cannot open {}", source.string()));
    const FileDescriptor to(::open(raw.c_str(), O_WRONLY | O_CLOEXEC));
    if (!to) return system_failure(fmt::format("cannot open {}", raw.string()));
    const std::uint64_t size = (kind.disk_bytes + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
    if (::ftruncate(to.get(), static_cast<off_t>(size)) != 0)
        return system_failure(fmt::format("cannot size {}", raw.string()));
    const auto merge =
        std::make_unique<Merge>(from.get(), to.get(), *kind.vhd_difference, kind.disk_bytes);
    ConverterRun run;
    run.readable = {source};
    run.writable = raw;
    run.limits = converter_limits(size);
    run.argv = {"the merge"};
    run.work = [&merge] { return merge->run(); };
    run.progress_bytes = size;
    GOLDLINK_TRY_ASSIGN(const ConverterEnd ended, run_converter(run, progress));
    switch (ended.status.code) {
        case kDone:
            return {};
        case kCutShort:
            return failure(ErrorKind::invalid,
                           fmt::format("{} is damaged or cut short: its block table points past "
                                       "its end; copy the file again",
                                       name));
        case kDiskFull:
            return failure(ErrorKind::exhausted,
                           fmt::format("the filesystem of {} is full while {} is merged; remove "
                                       "versions or add space",
                                       raw.parent_path().string(), name));
        default:
            return failure(ErrorKind::io, fmt::format("{} cannot be merged into its parent: {}",
                                                      name, ended.why("the merge")));
    }
}

}  // namespace goldlink::store
