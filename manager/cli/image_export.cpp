// goldlink image export: a version as a disk image file. A raw one is fetched by its chunks; others
// are written at the server, and must have the SHA-256 that they were given there.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <thread>

#include "common/digest.hpp"
#include "common/file.hpp"
#include "common/sparse_write.hpp"
#include "manager/cli/connect.hpp"
#include "manager/cli/image_delta.hpp"
#include "manager/cli/image_verbs.hpp"
#include "manager/cli/part_file.hpp"
#include "manager/cli/patience.hpp"
#include "manager/cli/progress.hpp"

namespace goldlink::cli {

namespace {

using std::chrono::milliseconds;

constexpr int kMaxTries = 8;  // without any byte getting through

struct Arguments {
    std::string ref, file, format;
    bool delta = false;
};

std::string format_of(const Arguments& arguments) {
    if (!arguments.format.empty()) return arguments.format;
    static constexpr std::pair<std::string_view, std::string_view> kEndings[] = {
        {".vhd", "vhd"},     {".vhdx", "vhdx"},   {".vmdk", "vmdk"},
        {".qcow2", "qcow2"}, {".zst", "raw.zst"},
    };
    for (const auto& [ending, format] : kEndings)
        if (arguments.file.ends_with(ending)) return std::string(format);
    return "raw";
}

// The file beside the wanted one while it comes; takes its name when it is whole.
class Download {
  public:
    static Result<Download> begin(const std::string& file) {
        GOLDLINK_TRY(check_is_new(file));
        Download download;
        download.file_ = file;
        download.part_ = file + ".part";
        download.fd_ = FileDescriptor(
            ::open(download.part_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
        if (!download.fd_) return system_failure(fmt::format("cannot create {}", download.part_));
        download.hasher_->start();
        return download;
    }
    Download(Download&&) noexcept = default;
    Download& operator=(Download&&) = delete;
    ~Download() {
        if (fd_) ::unlink(part_.c_str());
    }

    std::uint64_t done_bytes() const { return done_; }

    Result<> write(std::string_view bytes) {
        hasher_->add(as_bytes(bytes));
        GOLDLINK_TRY(write_with_holes(fd_.get(), as_bytes(bytes), done_, kHoleBytes, part_));
        done_ += bytes.size();
        return {};
    }

    // Once, when all of it is there. `expected`: 64 hex digits.
    Result<> check(const std::string& expected) {
        const std::string found = to_hex(hasher_->finish());
        if (found == expected) return {};
        return failure(
            ErrorKind::corrupt,
            fmt::format(
                "what came is not the file that the server wrote: its SHA-256 is {}, the "
                "server's {}; nothing of it is kept\n  to do: repeat the command; if that "
                "does not help, the way to the server or this machine's memory changes data",
                found, expected));
    }

    Result<> finish() {
        if (::ftruncate(fd_.get(), static_cast<off_t>(done_)) != 0)
            return system_failure(fmt::format("cannot size {}", part_));
        if (::fsync(fd_.get()) != 0) return system_failure(fmt::format("cannot sync {}", part_));
        return name_new_file(part_, file_);
    }

  private:
    Download() = default;

    std::string file_, part_;
    FileDescriptor fd_;
    std::unique_ptr<Hasher> hasher_ = std::make_unique<Hasher>();
    std::uint64_t done_ = 0;
};

Result<> fetch(Api& api, const std::string& path, std::uint64_t size_bytes, Download& download,
               const std::string& title) {
    Progress progress(title, size_bytes);
    milliseconds pause = first_pause();
    for (int tries = 0; download.done_bytes() < size_bytes;) {
        const std::uint64_t before = download.done_bytes();
        Result<> written;
        const auto got =
            api.download(fmt::format("{}?offset={}", path, before), [&](std::string_view bytes) {
                if (bytes.size() > size_bytes - download.done_bytes()) return false;
                written = download.write(bytes);
                progress.update(download.done_bytes(), size_bytes);
                return written.has_value();
            });
        if (!written) return written;
        if (download.done_bytes() > before) {
            tries = 0;
            pause = first_pause();
        }
        if (download.done_bytes() == size_bytes) break;
        if (!(got || may_pass(got.error())) || ++tries >= kMaxTries)
            return got ? Result<>(failure(ErrorKind::unavailable, "the file does not come whole"))
                       : Result<>(Failure(got.error()));
        std::this_thread::sleep_for(pause);
        pause = std::min(pause * 2, kLongestPause);
    }
    progress.finish();
    return {};
}

Result<> export_image(const Session& session, const Arguments& arguments) {
    if (arguments.delta) {
        if (const auto format = format_of(arguments); format != "raw")
            return failure(
                ErrorKind::invalid,
                fmt::format("--delta writes raw disks, and {} is to be {}; leave --delta out, "
                            "name another file, or add --format raw",
                            arguments.file, format));
        return export_by_delta(session, {arguments.ref, arguments.file, arguments.format == "raw"});
    }
    // The raw disk need not be written at the server first.
    if (format_of(arguments) == "raw")
        return export_by_delta(
            session,
            {.ref = arguments.ref, .file = arguments.file, .surely_raw = true, .is_new = true});
    GOLDLINK_TRY_ASSIGN(const auto ref, parse_image_ref(arguments.ref));
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(const auto image, api.get(image_path(ref.name)));
    GOLDLINK_TRY_ASSIGN(const auto number, version_of(image, ref));
    GOLDLINK_TRY_ASSIGN(auto download, Download::begin(arguments.file));
    const auto subject = fmt::format("{}@{}", ref.name, number);
    GOLDLINK_TRY_ASSIGN(auto task,
                        api.post(fmt::format("{}/versions/{}/export", image_path(ref.name), number),
                                 {{"format", format_of(arguments)}}));
    GOLDLINK_TRY_ASSIGN(const auto done,
                        follow_task(api, std::move(task), fmt::format("exporting {}", subject)));
    const auto path = fmt::format("/tasks/{}/content", text_of(done, "id"));
    const auto* result = member(done, "result");
    const auto size = result == nullptr ? 0 : int_of(*result, "bytes");
    if (size <= 0) return failure(ErrorKind::invalid, "the server names no size of the export");
    GOLDLINK_TRY(fetch(api, path, static_cast<std::uint64_t>(size), download,
                       fmt::format("fetching {}", subject)));
    // A server of before has none.
    if (const auto sha256 = text_of(*result, "sha256"); !sha256.empty())
        GOLDLINK_TRY(download.check(sha256));
    GOLDLINK_TRY(download.finish());
    (void)api.remove(path);  // it goes by itself in a day
    if (session.json)
        print_json(done);
    else
        print(fmt::format("{} is {} as {}, {}\n", arguments.file, subject, format_of(arguments),
                          format_bytes(static_cast<std::uint64_t>(size))));
    return {};
}

}  // namespace

void add_image_export(CLI::App& noun, Session& session) {
    const auto arguments = std::make_shared<Arguments>();
    auto* verb = add_verb(
        noun, session,
        {"export", "Write a version out as a disk image file",
         "The format is that of the file's ending, else raw. raw.zst is the raw disk, compressed\n"
         "with zstd. Importing the file again gives the same version. What comes is checked by\n"
         "its SHA-256. A raw disk comes straight from the store, and one that broke off goes on\n"
         "when the command is repeated; other formats are written at the server first.\n"
         "With --delta FILE may hold an older raw export, or be a block device that is not in\n"
         "use: only the chunks travel that it does not have in their place. A file is replaced\n"
         "when the new one is complete; a block device is written in place.",
         "goldlink image export win11 /backup/win11.vhdx\n"
         "goldlink image export win11@7 /backup/win11-7.raw.zst\n"
         "goldlink image export lab:test lab.img --format raw\n"
         "goldlink image export win11 /backup/win11.raw --delta"},
        [&session, arguments] { return export_image(session, *arguments); });
    verb->add_option("IMAGE", arguments->ref, "NAME, NAME:channel or NAME@version")
        ->required()
        ->check(check_image_ref);
    verb->add_option("FILE", arguments->file, "Where to write it; must not exist but for --delta")
        ->required();
    verb->add_flag("--delta", arguments->delta, "Fetch only what a raw FILE does not have already");
    verb->add_option("--format", arguments->format, "Instead of the ending's")
        ->check(CLI::IsMember({"raw", "raw.zst", "vhd", "vhdx", "vmdk", "qcow2"}));
}

}  // namespace goldlink::cli
