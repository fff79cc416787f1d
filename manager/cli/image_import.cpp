// goldlink image import: files sent to the server in pieces, going on after a broken connection, or
// files that lie on it.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <thread>

#include "common/vmdk_descriptor.hpp"
#include "manager/cli/connect.hpp"
#include "manager/cli/image_delta.hpp"
#include "manager/cli/image_verbs.hpp"
#include "manager/cli/patience.hpp"
#include "manager/cli/progress.hpp"
#include "manager/cli/source_file.hpp"

namespace goldlink::cli {

namespace {

using std::chrono::milliseconds;

// Without any byte getting through: about 40 s, past the time a server waits for a silent sender.
constexpr int kMaxTries = 10;

struct Arguments {
    std::string name, file, format, note, channel, server_path, resume;
    std::vector<std::string> parents;
    bool delta = false;
};

json::object wishes_of(const Arguments& arguments) {
    json::object body;
    if (!arguments.format.empty()) body["format"] = arguments.format;
    if (!arguments.note.empty()) body["note"] = arguments.note;
    if (!arguments.channel.empty()) body["channel"] = arguments.channel;
    return body;
}

// The file itself, its parents, and what a VMDK descriptor among them names.
Result<std::vector<SourceFile>> open_files(const Arguments& arguments) {
    std::vector<SourceFile> files;
    std::set<std::string> names;
    const auto add = [&](const std::string& path) -> Result<> {
        GOLDLINK_TRY_ASSIGN(auto file, SourceFile::open(path));
        if (!names.insert(file.name()).second)
            return failure(ErrorKind::invalid,
                           fmt::format("two of the files are named {}; the image names its parent "
                                       "by its file name, so rename the other",
                                       file.name()));
        files.push_back(std::move(file));
        return {};
    };
    GOLDLINK_TRY(add(arguments.file));
    GOLDLINK_TRY(files.front().check_importable(arguments.format));
    for (const std::string& parent : arguments.parents) GOLDLINK_TRY(add(parent));
    std::string begin(kVmdkDescriptorMagic.size(), '\0');
    GOLDLINK_TRY(files.front().read(begin.data(), begin.size()));
    files.front().seek(0);
    if (begin == kVmdkDescriptorMagic && files.front().size() <= kMaxVmdkDescriptorBytes) {
        GOLDLINK_TRY_ASSIGN(const auto text, read_file(arguments.file, kMaxVmdkDescriptorBytes));
        GOLDLINK_TRY_ASSIGN(const auto extents, parse_vmdk_descriptor(text, arguments.file));
        for (const VmdkExtent& extent : extents) {
            const auto path = std::filesystem::path(arguments.file).parent_path() / extent.file;
            if (!extent.file.empty() && !names.contains(extent.file))
                GOLDLINK_TRY(add(path.string()));
        }
    }
    return files;
}

class Sending {
  public:
    Sending(Api& api, json::value upload, std::vector<SourceFile>& files, const std::string& name)
        : api_(api), id_(text_of(upload, "id")), files_(files) {
        for (const SourceFile& file : files_) total_ += file.size();
        upload_ = std::move(upload);
        progress_.emplace(fmt::format("sending {}", name), total_);
    }

    Result<json::value> run() {
        // Before anything is sent: one of them may be another file than was announced.
        for (const SourceFile& file : files_) GOLDLINK_TRY(received(file));
        for (SourceFile& file : files_) GOLDLINK_TRY(send(file));
        json::object digests;
        for (SourceFile& file : files_) {
            GOLDLINK_TRY_ASSIGN(const auto digest, file.sha256());
            digests[file.name()] = digest;
        }
        for (const SourceFile& file : files_) GOLDLINK_TRY(file.check_unchanged());
        progress_->finish();
        return api_.post("/uploads/" + id_ + "/finish", {{"sha256", std::move(digests)}});
    }

  private:
    // What the server has of the file; the file must be the one that was announced.
    Result<std::uint64_t> received(const SourceFile& file) const {
        for (const auto& item : items_of(upload_, "files")) {
            if (text_of(item, "name") != file.name()) continue;
            if (int_of(item, "size_bytes") != static_cast<std::int64_t>(file.size())) break;
            return static_cast<std::uint64_t>(
                std::max<std::int64_t>(int_of(item, "received_bytes"), 0));
        }
        std::string announced;
        for (const auto& item : items_of(upload_, "files"))
            announced += fmt::format("{}{} of {} bytes", announced.empty() ? "" : ", ",
                                     printable(text_of(item, "name")), int_of(item, "size_bytes"));
        return failure(ErrorKind::conflict,
                       fmt::format("upload {} was begun with {}, and {} has {} bytes: name the "
                                   "file that it was begun with, or leave --resume out",
                                   id_, announced, file.path(), file.size()));
    }

    Result<> send(SourceFile& file) {
        const std::uint64_t before = done_;
        milliseconds pause = first_pause();
        GOLDLINK_TRY_ASSIGN(std::uint64_t offset, received(file));
        for (int tries = 0; offset < file.size();) {
            file.seek(offset);
            const auto sent =
                api_.upload(fmt::format("/uploads/{}/files/{}?offset={}", id_,
                                        http::percent_encode(file.name()), offset),
                            file.size() - offset, [&](char* buffer, std::size_t size) {
                                auto count = file.read(buffer, size);
                                progress_->update(before + file.offset(), total_);
                                return count;
                            });
            if (sent) break;
            if (!piece_may_pass(sent.error()) || ++tries >= kMaxTries)
                return Failure(std::move(sent).error());
            std::this_thread::sleep_for(pause);
            pause = std::min(pause * 2, kLongestPause);
            auto now = api_.get("/uploads/" + id_);
            if (!now) {
                if (!may_pass(now.error())) return Failure(std::move(now).error());
                continue;
            }
            upload_ = std::move(*now);
            GOLDLINK_TRY_ASSIGN(const std::uint64_t there, received(file));
            if (there > offset) {
                tries = 0;
                pause = first_pause();
            }
            offset = there;
        }
        done_ += file.size();
        progress_->update(done_, total_);
        return {};
    }

    // A lost connection, a server that restarts, a piece whose predecessor is not given up yet.
    static bool piece_may_pass(const Error& error) {
        return may_pass(error) || error.kind == ErrorKind::conflict;
    }

    Api& api_;
    const std::string id_;
    json::value upload_;
    std::vector<SourceFile>& files_;
    std::uint64_t total_ = 0, done_ = 0;
    std::optional<Progress> progress_;
};

Result<json::value> begin_upload(Api& api, const Arguments& arguments,
                                 const std::vector<SourceFile>& files) {
    if (!arguments.resume.empty())
        return api.get("/uploads/" + http::percent_encode(arguments.resume));
    json::object body = wishes_of(arguments);
    json::array announced;
    for (const SourceFile& file : files)
        announced.push_back(json::object{{"name", file.name()}, {"size_bytes", file.size()}});
    body["files"] = std::move(announced);
    return api.post(image_path(arguments.name) + "/uploads", body);
}

Result<json::value> send_files(Api& api, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto files, open_files(arguments));
    const auto importing = fmt::format("importing {}", arguments.file);
    auto upload = begin_upload(api, arguments, files);
    if (!upload) return Failure(std::move(upload).error().with_context(importing));
    const auto id = text_of(*upload, "id");
    auto task = Sending(api, std::move(*upload), files, arguments.name).run();
    if (task) return task;
    Error error = std::move(task).error().with_context(importing);
    if (may_pass(error))
        error.message += fmt::format(
            "\n  to go on where it stopped, within a day: the same command with --resume {}", id);
    else if (!arguments.resume.empty())
        error.message += "\n  what had arrived of the upload is kept for a day";
    else if (auto dropped = api.remove("/tasks/" + http::percent_encode(id));
             !dropped && dropped.error().kind != ErrorKind::conflict)  // ended by the server
        error.message +=
            fmt::format("\n  what was sent is kept for a day: goldlink task cancel {}", id);
    return Failure(std::move(error));
}

Result<json::value> begin_on_server(Api& api, const Arguments& arguments) {
    json::object body = wishes_of(arguments);
    body["server_path"] = arguments.server_path;
    if (!arguments.parents.empty())
        body["parents"] = json::array(arguments.parents.begin(), arguments.parents.end());
    return api.post(image_path(arguments.name) + "/imports", body);
}

// A raw disk alone is sent by its chunks, which needs no room for the file at the server; unless an
// upload of the file is to be gone on with.
Result<bool> goes_by_chunks(Api& api, const Arguments& arguments) {
    if (!arguments.server_path.empty() || !arguments.parents.empty() ||
        !(arguments.format.empty() || arguments.format == "raw"))
        return false;
    GOLDLINK_TRY_ASSIGN(const SourceFile file, SourceFile::open(arguments.file));
    GOLDLINK_TRY(file.check_importable(arguments.format));
    GOLDLINK_TRY_ASSIGN(const std::string format, file.format());
    if (!format.empty() && arguments.format.empty()) return false;
    if (arguments.resume.empty()) return true;
    const auto upload = api.get("/uploads/" + http::percent_encode(arguments.resume));
    return !upload && upload.error().kind == ErrorKind::not_found;
}

Result<> import_image(const Session& session, const Arguments& arguments) {
    const auto by_chunks = [&](bool surely_raw) {
        return import_by_delta(session, {arguments.name, arguments.file, surely_raw, arguments.note,
                                         arguments.channel, arguments.resume, arguments.delta});
    };
    if (arguments.delta) return by_chunks(arguments.format == "raw");
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(const bool raw, goes_by_chunks(api, arguments));
    if (raw) return by_chunks(true);
    GOLDLINK_TRY_ASSIGN(auto task, arguments.server_path.empty() ? send_files(api, arguments)
                                                                 : begin_on_server(api, arguments));
    GOLDLINK_TRY_ASSIGN(
        auto done, follow_task(api, std::move(task), fmt::format("importing {}", arguments.name)));
    if (session.json) {
        print_json(done);
        return {};
    }
    print(fmt::format("{} is ready\n", printable(text_of(done, "subject", arguments.name))));
    return {};
}

}  // namespace

void add_image_import(CLI::App& noun, Session& session) {
    const auto arguments = std::make_shared<Arguments>();
    auto* import = add_verb(
        noun, session,
        {"import", "Upload a disk image as the next version",
         "Takes raw, VHD, VHDX, VMDK and qcow2, also compressed with gzip, bzip2, zstd or xz, or\n"
         "as the one disk in a zip, tar or OVA; the format is detected, and what is no disk image\n"
         "is refused before it is sent. The image is made when it does not exist. Its first\n"
         "version becomes NAME:production, later ones NAME:latest: try a new version on one\n"
         "client, then 'goldlink image promote NAME'. An image that holds only changes\n"
         "(differencing VHD, qcow2 over a backing file) needs its --parent files; the files of a\n"
         "split VMDK are found beside its descriptor. A broken upload goes on by itself; one that\n"
         "was given up goes on with --resume and the task's id ('goldlink task ls').\n"
         "With --format iso FILE is a disc, which links serve as a CD-ROM: 'goldlink link create\n"
         "--install' boots an installer from it.\n"
         "Of a raw disk only the chunks travel that the server lacks. With --delta FILE may be a\n"
         "block device such as /dev/sda. Of a disk that is in use the version is a mixture\n"
         "of what it held while it was read: start the PC from another system to take its disk.",
         "goldlink image import win11 win11.vhdx\n"
         "goldlink image import win11 child.vhd --parent base.vhd\n"
         "goldlink image import lab lab.qcow2.zst --version-note 'with Office'\n"
         "goldlink image import win11 new.vhdx --channel test\n"
         "goldlink image import win11 --server-path /var/lib/goldlink/import/win11.vhdx\n"
         "goldlink image import debian-netinst debian.iso --format iso\n"
         "goldlink image import win11 /dev/sda --delta"},
        [&session, arguments] { return import_image(session, *arguments); });
    import->add_option("NAME", arguments->name, "The image's name")
        ->required()
        ->check(check_image_name);
    auto* file = import->add_option("FILE", arguments->file, "The disk image");
    import
        ->add_option("--parent", arguments->parents,
                     "A file that FILE was made over, and what that was made over (repeatable)")
        ->type_name("FILE");
    import
        ->add_option("--server-path", arguments->server_path,
                     "A file of the server in a folder it imports from, instead of FILE")
        ->type_name("PATH")
        ->excludes(file);
    import->add_flag("--delta", arguments->delta, "Send only what the server lacks of a raw disk")
        ->excludes("--parent")
        ->excludes("--server-path");
    import->add_option("--resume", arguments->resume, "Go on with the upload of this task")
        ->type_name("TASK");
    import->add_option("--format", arguments->format, "Instead of detecting it")
        ->check(CLI::IsMember({"raw", "iso", "vhd", "vhdx", "vmdk", "qcow2"}));
    import->add_option("--version-note", arguments->note, "What this version is")
        ->type_name("TEXT");
    import
        ->add_option("--channel", arguments->channel, "Also point this channel at the new version")
        ->type_name("NAME");
    import->parse_complete_callback([arguments] {
        if (arguments->file.empty() && arguments->server_path.empty())
            throw CLI::RequiredError("FILE or --server-path");
    if (arguments->delta && !arguments->format.empty() && arguments->format != "raw")
        throw CLI::ValidationError("--delta",
                                   "takes raw disks: leave --delta out for " + arguments->format);
});
}  // namespace goldlink::cli

}  // namespace goldlink::cli
