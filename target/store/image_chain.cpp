#include "target/store/image_chain.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

#include "common/json.hpp"
#include "target/store/vmdk_image.hpp"

namespace goldlink::store {

namespace {

std::string printable(std::string_view text) {
    std::string out(text.substr(0, 200));
    for (char& c : out)
        if (c < 0x20 || c > 0x7e) c = '?';
    return out;
}

// "C:\VMs\base.vhd" and "/srv/base.qcow2" are looked for as "base.vhd" and "base.qcow2".
std::string last_part(std::string_view reference) {
    const std::size_t slash = reference.find_last_of("/\\");
    return std::string(slash == std::string_view::npos ? reference : reference.substr(slash + 1));
}

// The file that QEMU's description of a disk leads to: {"driver":"qcow2","file":{"driver":"file",
// "filename":"/srv/base.qcow2"}}, or the same with "file.filename"; "" where it is another kind.
std::string described_file(const json::object& description, unsigned depth = 0) {
    constexpr unsigned kMostDepth = 8;
    for (const std::string_view key : {"filename", "file.filename"})
        if (const auto* value = description.if_contains(key); value && value->is_string())
            return std::string(value->get_string());
    const auto* file = description.if_contains("file");
    if (file == nullptr || !file->is_object() || depth == kMostDepth) return {};
    return described_file(file->get_object(), depth + 1);
}

// What QEMU writes for a backing file: a path, "file:" and a path, or "json:" and a description.
std::string file_of(const std::string& reference) {
    constexpr std::string_view kJson = "json:", kFile = "file:";
    if (reference.starts_with(kJson)) {
        const auto description = json::parse_object(reference.substr(kJson.size()));
        return description ? described_file(*description) : std::string();
    }
    return reference.starts_with(kFile) ? reference.substr(kFile.size()) : reference;
}

bool equal_nocase(std::string_view a, std::string_view b) {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [&](char x, char y) { return lower(x) == lower(y); });
}

Result<FileDescriptor> open_file(const std::filesystem::path& file) {
    FileDescriptor fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!fd) return system_failure(fmt::format("cannot open {}", file.string()));
    return fd;
}

class Chain {
  public:
    explicit Chain(const ImportRequest& request) : request_(request) {}

    Result<std::vector<ChainFile>> open(const std::string& name) {
        GOLDLINK_TRY(add(request_.file, name, request_.format));
        while (files_.back().kind.parent) {
            if (files_.size() >= kMaxImageLayers)
                return failure(ErrorKind::invalid,
                               fmt::format("{} has more than {} files over each other; merge some "
                                           "first",
                                           name, kMaxImageLayers));
            GOLDLINK_TRY(add_parent());
        }
        return std::move(files_);
    }

  private:
    Result<> add(const std::filesystem::path& file, const std::string& name,
                 const std::string& format) {
        ChainFile next;
        next.file = std::filesystem::absolute(file);
        next.name = name;
        GOLDLINK_TRY_ASSIGN(next.fd, open_file(next.file));
        GOLDLINK_TRY(refuse_loop(next));
        GOLDLINK_TRY(guard(next, next.fd.get(), name));
        GOLDLINK_TRY_ASSIGN(next.kind, detect_format(next.fd.get(), name, format));
        for (VmdkExtent& extent : next.kind.extents)
            if (!extent.file.empty()) GOLDLINK_TRY(find_extent(next, extent));
        files_.push_back(std::move(next));
        return {};
    }

    static Result<> guard(ChainFile& owner, int fd, const std::string& name) {
        GOLDLINK_TRY_ASSIGN(auto guard, SourceGuard::begin(fd, name));
        owner.guards.push_back(std::move(guard));
        return {};
    }

    Result<> refuse_loop(const ChainFile& next) const {
        struct stat status {};
        if (::fstat(next.fd.get(), &status) != 0)
            return system_failure(fmt::format("cannot examine {}", next.name));
        for (const ChainFile& file : files_) {
            struct stat other {};
            if (::fstat(file.fd.get(), &other) == 0 && other.st_dev == status.st_dev &&
                other.st_ino == status.st_ino)
                return failure(ErrorKind::invalid,
                               fmt::format("{} is its own parent, by way of {} file{}", next.name,
                                           files_.size(), files_.size() == 1 ? "" : "s"));
        }
        return {};
    }

    std::optional<std::filesystem::path> find(const std::string& name) const {
        for (const auto& companion : request_.companions)
            if (companion.filename() == name) return companion;
        for (const auto& companion : request_.companions)
            if (equal_nocase(companion.filename().string(), name)) return companion;
        if (!request_.beside || name.empty() || name == "." || name == "..") return {};
        const auto beside = request_.file.parent_path() / name;
        std::error_code error;
        // Not a link: it could lead anywhere.
        if (std::filesystem::symlink_status(beside, error).type() !=
            std::filesystem::file_type::regular)
            return {};
        return beside;
    }

    // Puts the path of the file in place of its name.
    Result<> find_extent(ChainFile& descriptor, VmdkExtent& extent) const {
        const auto found = find(extent.file);
        if (!found)
            return failure(
                ErrorKind::invalid,
                fmt::format("{} keeps data in other files, of which \"{}\" is missing: give all of "
                            "them along, or make one file of it first: qemu-img convert -O vmdk "
                            "<file> <new file>",
                            descriptor.name, printable(extent.file)));
        const std::string name = found->filename().string();
        GOLDLINK_TRY_ASSIGN(FileDescriptor fd, open_file(*found));
        GOLDLINK_TRY(guard(descriptor, fd.get(), name));
        GOLDLINK_TRY_ASSIGN(const ImageFile file, examine_image(fd.get(), name));
        GOLDLINK_TRY(check_vmdk_extent(file, extent));
        descriptor.extent_fds.push_back(std::move(fd));
        extent.file = std::filesystem::absolute(*found).string();
        return {};
    }

    Result<> add_parent() {
        const ChainFile& child = files_.back();
        return child.kind.vhd_difference ? add_vhd_parent(child) : add_backing_file(child);
    }

    Result<> add_backing_file(const ChainFile& child) {
        const auto found = find(last_part(file_of(*child.kind.parent)));
        if (!found)
            return failure(
                ErrorKind::invalid,
                fmt::format("{} needs its backing file \"{}\", which was not given: add it with "
                            "--parent, or make the image whole first: qemu-img convert -O qcow2 "
                            "<file> <new file>",
                            child.name, printable(*child.kind.parent)));
        return add(*found, found->filename().string(), child.kind.parent_format);
    }

    // By identifier, so that a parent may have been renamed; by name to say what is wrong.
    Result<> add_vhd_parent(const ChainFile& child) {
        const std::string name = last_part(*child.kind.parent);
        std::vector<std::filesystem::path> candidates = request_.companions;
        const auto by_name = find(name);
        if (by_name) candidates.insert(candidates.begin(), *by_name);
        for (const auto& candidate : candidates) {
            GOLDLINK_TRY_ASSIGN(const FileDescriptor fd, open_file(candidate));
            const auto kind = detect_format(fd.get(), candidate.filename().string(), "");
            if (kind && kind->format == "vhd" &&
                kind->vhd_id == child.kind.vhd_difference->parent_id)
                return add(candidate, candidate.filename().string(), "vhd");
        }
        const std::string merge =
            "merge it into its parent first (Hyper-V: Merge-VHD; diskpart: merge vdisk)";
        if (by_name)
            return failure(
                ErrorKind::invalid,
                fmt::format("{} is a differencing VHD over another disk than {}: the identifier "
                            "in it is not that file's. Give the parent it was made over, or {}",
                            child.name, by_name->filename().string(), merge));
        return failure(
            ErrorKind::invalid,
            fmt::format("{} is a differencing VHD: it holds only what changed since its parent "
                        "\"{}\", which was not given. Add it with --parent, or {}",
                        child.name, printable(name), merge));
    }

    const ImportRequest& request_;
    std::vector<ChainFile> files_;
};

}  // namespace

Result<> ChainFile::check_unchanged() const {
    for (const SourceGuard& guard : guards) GOLDLINK_TRY(guard.check());
    return {};
}

Result<std::vector<ChainFile>> open_chain(const ImportRequest& request, const std::string& name) {
    return Chain(request).open(name);
}

}  // namespace goldlink::store
