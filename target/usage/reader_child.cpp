#include "target/usage/reader_child.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>

#include "common/child.hpp"
#include "common/clean_text.hpp"
#include "common/file.hpp"
#include "common/log.hpp"
#include "target/store/sandbox.hpp"
#include "target/usage/channel.hpp"

namespace goldlink::usage {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kGoodbye{1000};  // for a reader that has said its last word
constexpr milliseconds kGrace{0};       // it holds nothing that an orderly end would save
constexpr std::uint64_t kDescriptors = 16;
constexpr std::size_t kMaxWordsBytes = 500;  // of what it wrote to its standard error

// A sanitizer's shadow of the address space is larger than any limit.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

std::string text_of(Gap gap) {
    switch (gap) {
        case Gap::none:
            return "";
        case Gap::not_readable:
            return "files can be told of NTFS, ext2 to ext4, FAT and exFAT only";
        case Gap::damaged:
            return "the file system could not be read, or not to its end; it may be damaged, or "
                   "its client was just writing to it";
        case Gap::time:
            return "it took too long, so not all of its files were looked at";
        case Gap::memory:
            return "it needs more memory than is given to this, so not all of its files were "
                   "looked at";
    }
    return "";
}

// One reader's life: the order, its questions, its reports.
class Conversation {
  public:
    Conversation(const DiskToLook& disk, std::uint32_t files, Channel& channel, DiskUse& use)
        : disk_(disk), channel_(channel), use_(use) {
        for (const PartitionUse& each : use.partitions)
            expected_.written_bytes.push_back(each.written_bytes);
        expected_.files = files;
        heard_.resize(use.partitions.size());
    }

    Result<> run(const Order& order) {
        GOLDLINK_TRY(channel_.write(as_bytes(encode_order(order, disk_.written))));
        for (;;) {
            std::uint8_t head[kFrameHeadBytes];
            GOLDLINK_TRY(channel_.read(head));
            GOLDLINK_TRY_ASSIGN(const FrameHead frame, parse_frame_head(head));
            if (frame.kind == FrameKind::end) return {};
            payload_.resize(frame.length_bytes);
            GOLDLINK_TRY(channel_.read(payload_));
            GOLDLINK_TRY(frame.kind == FrameKind::chunk ? answer() : note());
        }
    }

    const std::string& unreadable() const { return unreadable_; }

  private:
    Result<> answer() {
        const std::uint64_t chunk = load_be32(payload_.data());
        if (chunk * kChunkBytes >= disk_.disk_bytes)
            return failure(ErrorKind::invalid, "a chunk past the disk's end");
        answer_.assign(kAnswerBytes, 0);
        if (auto read = disk_.read_chunk(chunk, answer_.data() + 1); !read) {
            answer_.assign(kAnswerBytes, 0);
            answer_[0] = kChunkUnreadable;
            if (unreadable_.empty()) unreadable_ = read.error().message;
        }
        return channel_.write(answer_);
    }

    Result<> note() {
        GOLDLINK_TRY_ASSIGN(ReportedContents report, parse_contents(payload_, expected_));
        if (heard_[report.partition])
            return failure(ErrorKind::invalid, "a partition that it reported before");
        heard_[report.partition] = true;
        PartitionUse& partition = use_.partitions[report.partition];
        partition.contents = std::move(report.contents);
        partition.gap_text = text_of(partition.contents.gap);
        return {};
    }

    const DiskToLook& disk_;
    Channel& channel_;
    DiskUse& use_;
    Expected expected_;
    std::vector<bool> heard_;
    std::vector<std::uint8_t> payload_, answer_;
    std::string unreadable_;
};

Result<> count_partitions(const DiskToLook& disk, DiskUse& use) {
    std::vector<std::uint8_t> chunk(kChunkBytes);
    const store::ReadDisk read = [&](std::uint64_t offset, std::uint8_t* data,
                                     std::uint64_t length) -> Result<> {
        while (length > 0) {
            const std::uint64_t within = offset % kChunkBytes;
            const std::uint64_t here = std::min(length, kChunkBytes - within);
            GOLDLINK_TRY(disk.read_chunk(offset / kChunkBytes, chunk.data()));
            std::copy_n(chunk.begin() + static_cast<std::ptrdiff_t>(within), here, data);
            data += here;
            offset += here;
            length -= here;
        }
        return {};
    };
    Result<> outcome;
    auto partitions = store::read_partitions(read, disk.disk_bytes, disk.sector_bytes);
    if (!partitions) outcome = Failure(std::move(partitions).error());
    if (!partitions || partitions->empty())
        partitions = std::vector<store::Partition>{{0, 0, disk.disk_bytes}};
    use.disk_bytes = disk.disk_bytes;
    use.used_bytes = use.outside_bytes = disk.written.bytes();
    for (const store::Partition& each : *partitions) {
        PartitionUse partition;
        partition.partition = each;
        partition.written_bytes = disk.written.bytes_in(each.offset_bytes, each.length_bytes);
        partition.gap_text = "it was not looked at";
        use.outside_bytes -= partition.written_bytes;
        use.partitions.push_back(std::move(partition));
    }
    return outcome;
}

Order order_of(const DiskToLook& disk, std::uint32_t files, const DiskUse& use,
               milliseconds budget) {
    Order order;
    order.disk_bytes = disk.disk_bytes;
    order.sector_bytes = disk.sector_bytes;
    order.files = files;
    order.budget_ms = static_cast<std::uint32_t>(budget.count());
    for (const PartitionUse& each : use.partitions)
        order.partitions.push_back({each.partition.offset_bytes, each.partition.length_bytes});
    return order;
}

store::SandboxLimits limits_of(const DiskToLook& disk, const LookOptions& options) {
    store::SandboxLimits limits;
    // It holds the order, the runs with what lies before each, and a bit for each 512 bytes.
    limits.memory_bytes = options.memory_bytes + disk.written.runs().size() * 64 +
                          disk.written.bytes() / kUnitBytes / 4;
    if (kSanitized) limits.memory_bytes = ~std::uint64_t{0};
    limits.cpu_seconds = static_cast<std::uint64_t>(options.deadline.count() / 1000 + 2);
    limits.open_files = kDescriptors;
    return limits;
}

// Fills in what the reader reports, as far as it comes; an error says why not all of it did.
Result<> converse(const DiskToLook& disk, std::uint32_t files, const LookOptions& options,
                  DiskUse& use) {
    const auto deadline = Channel::Clock::now() + options.deadline;
    int pair[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return system_failure("cannot make a pair of sockets");
    const FileDescriptor ours(pair[0]);
    FileDescriptor theirs(pair[1]);
    GOLDLINK_TRY_ASSIGN(const auto sandbox,
                        store::Sandbox::make({}, {}, limits_of(disk, options),
                                             options.work ? std::string() : options.program.at(0)));
    std::mutex mutex;
    std::string words;
    ChildOptions child_options;
    child_options.argv = options.work ? std::vector<std::string>{"the test"} : options.program;
    child_options.extra_environment = {"LC_ALL=C", "TZ=UTC"};
    child_options.before_exec = [enter = sandbox->enter(), socket = pair[1], &options] {
        if (::dup2(socket, 0) < 0) ::_exit(126);
        enter();
        if (!options.work) return;
        // As a start of a program would close them: spawn() waits for one of them.
        ::syscall(SYS_close_range, 3U, ~0U, 0U);
        ::_exit(options.work());
    };
    child_options.on_line = [&](std::string_view line) {
        const std::lock_guard lock(mutex);
        if (words.size() < kMaxWordsBytes)
            words += clean_text(line.substr(0, kMaxWordsBytes), kMaxWordsBytes) + " ";
    };
    std::string unreadable;
    Result<> said;
    std::optional<ExitStatus> ended;
    {
        GOLDLINK_TRY_ASSIGN(Child child, Child::spawn(std::move(child_options)));
        theirs.reset();
        Channel channel(ours.get(), deadline, options.cancel);
        Conversation conversation(disk, files, channel, use);
        // It is told of less time than there is, so that it reports what it has.
        said = conversation.run(order_of(disk, files, use, options.deadline * 4 / 5));
        ended = child.wait(said || said.error().kind == ErrorKind::unavailable ? kGoodbye : kGrace);
        if (!ended) child.stop(kGrace);
        unreadable = conversation.unreadable();
    }  // its output is complete
    if (!said && said.error().kind != ErrorKind::cancelled)
        log::warn("the reader of file systems failed: {}{}{}", said.error().message,
                  words.empty() ? "" : "; it wrote: ", words);
    if (!said && said.error().kind == ErrorKind::unavailable && ended)
        return failure(ErrorKind::unavailable,
                       fmt::format("the program that reads file systems {}, so what it had not "
                                   "reported is missing",
                                   ended->describe()));
    if (!said && said.error().kind == ErrorKind::invalid)
        return failure(ErrorKind::invalid,
                       "the program that reads file systems reported what cannot be, so it was "
                       "stopped; a file system of this disk may be made to mislead it");
    GOLDLINK_TRY(std::move(said));
    if (!unreadable.empty())
        return failure(ErrorKind::corrupt,
                       fmt::format("a part of the disk could not be read: {}", unreadable));
    return {};
}

}  // namespace

Result<DiskUse> look_into(const DiskToLook& disk, std::uint32_t files, const LookOptions& options) {
    DiskUse use;
    if (auto counted = count_partitions(disk, use); !counted)
        use.incomplete =
            fmt::format("the partition table could not be read: {}", counted.error().message);
    if (disk.written.runs().size() > kMaxRuns) {
        use.incomplete = fmt::format(
            "the overlay is in more than {} pieces, so files were not "
            "looked at",
            kMaxRuns);
        return use;
    }
    auto looked = converse(disk, files, options, use);
    if (!looked && looked.error().kind == ErrorKind::cancelled)
        return Failure(std::move(looked).error());
    if (!looked && use.incomplete.empty())
        use.incomplete =
            looked.error().kind == ErrorKind::timeout
                ? fmt::format("it took longer than {} s, so not all files were looked at",
                              options.deadline.count() / 1000)
                : std::move(looked).error().message;
    for (const PartitionUse& each : use.partitions)
        if (use.incomplete.empty() && each.contents.gap > Gap::not_readable)
            use.incomplete =
                each.partition.number == 0
                    ? each.gap_text
                    : fmt::format("partition {}: {}", each.partition.number, each.gap_text);
    return use;
}

std::vector<std::string> reader_program() {
    std::error_code error;
    const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
    return {(self.parent_path() / "goldlink-usage-reader").string()};
}

}  // namespace goldlink::usage
