#include "target/store/image_source.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "target/store/archive.hpp"
#include "target/store/image_chain.hpp"
#include "target/store/image_convert.hpp"
#include "target/store/space_account.hpp"
#include "target/store/unpack.hpp"
#include "target/store/vhd_difference.hpp"

namespace goldlink::store {

namespace {

// "win11.vhd.gz" holds "win11.vhd".
std::string unpacked_name(const std::string& name) {
    for (const std::string_view ending : {".gz", ".bz2", ".zst", ".xz"})
        if (name.size() > ending.size() && name.ends_with(ending))
            return name.substr(0, name.size() - ending.size());
    return name;
}

std::uint64_t whole_sectors(std::uint64_t bytes) { return (bytes + 511) / 512 * 512; }

Result<FileDescriptor> open_reading(const std::filesystem::path& file) {
    FileDescriptor fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!fd) return system_failure(fmt::format("cannot open {}", file.string()));
    return fd;
}

std::string last_part(const std::string& member) { return member.substr(member.rfind('/') + 1); }

ImageLayer layer_of(const ChainFile& file) {
    ImageLayer layer{file.file, file.name, file.kind.format, file.kind.extents};
    // A VHD's size is forced upon qemu-img (see source_of), so there is nothing to compare.
    if (layer.format == "vmdk") layer.disk_bytes = file.kind.disk_bytes;
    layer.repair = file.kind.repair;
    return layer;
}

// Files over each other as one raw disk: qemu-img reads what it can, VHD differences are laid over.
Result<> flatten(const std::vector<ChainFile>& chain, const std::filesystem::path& raw,
                 Progress& progress) {
    std::size_t differences = 0;
    while (differences < chain.size() && chain[differences].kind.vhd_difference) ++differences;
    std::uint64_t later = 0;
    for (std::size_t i = 0; i < differences; ++i) later += whole_sectors(chain[i].kind.disk_bytes);
    if (differences > 0) later += whole_sectors(chain.front().kind.disk_bytes);
    std::vector<ImageLayer> layers;
    for (std::size_t i = differences; i < chain.size(); ++i) layers.push_back(layer_of(chain[i]));
    GOLDLINK_TRY(convert_to_raw(layers, raw, later, progress));
    for (std::size_t i = differences; i-- > 0;)
        GOLDLINK_TRY(
            apply_vhd_difference(chain[i].file, chain[i].name, chain[i].kind, raw, progress));
    return {};
}

}  // namespace

Result<> ImageSource::unwrap(ImportRequest& request, const std::filesystem::path& spool,
                             Progress& progress) {
    for (bool compressed = false, archived = false;;) {
        GOLDLINK_TRY_ASSIGN(const FileDescriptor fd, open_reading(request.file));
        GOLDLINK_TRY_ASSIGN(const std::string compression, detect_compression(fd.get(), name_));
        GOLDLINK_TRY_ASSIGN(const std::string archive, detect_archive(fd.get(), name_));
        if (compression.empty() && archive.empty()) return {};
        bool& before = compression.empty() ? archived : compressed;
        if (std::exchange(before, true))
            return failure(
                ErrorKind::invalid,
                fmt::format("{} is {}: what it unpacks to is {} again. Unpack it once "
                            "yourself",
                            name_,
                            compression.empty() ? "an archive in an archive" : "compressed twice",
                            compression + archive));
        // It holds at least as much as it has itself; how much that is shows as it is unpacked.
        if (progress.space != nullptr) {
            std::error_code error;
            const auto bytes = std::filesystem::file_size(request.file, error);
            GOLDLINK_TRY(progress.space->grow(error ? 0 : bytes));
        }
        GOLDLINK_TRY_ASSIGN(const auto guard, SourceGuard::begin(fd.get(), name_));
        GOLDLINK_TRY_ASSIGN(auto file, SpoolFile::create(spool));
        if (compression.empty()) {
            GOLDLINK_TRY_ASSIGN(const std::string member,
                                find_disk_in_archive(fd.get(), name_, archive, progress));
            GOLDLINK_TRY(extract(fd.get(), name_, archive, member, file.path(), {}, progress));
            name_ = last_part(member);
        } else {
            GOLDLINK_TRY(unpack(fd.get(), name_, compression, file.path(), {}, progress));
            name_ = unpacked_name(name_);
        }
        GOLDLINK_TRY(guard.check());
        request.file = file.path();
        request.companions.clear();  // an image in a packed file is whole
        request.beside = false;
        unpacked_.emplace(std::move(file));
    }
}

Result<std::unique_ptr<ImageSource>> ImageSource::open(const ImportRequest& request,
                                                       const std::filesystem::path& spool,
                                                       Progress& progress) {
    auto source = std::make_unique<ImageSource>();
    source->name_ = request.file.filename().string();
    ImportRequest plain = request;
    GOLDLINK_TRY(source->unwrap(plain, spool, progress));
    GOLDLINK_TRY_ASSIGN(auto chain, open_chain(plain, source->name_));
    if (const std::string& format = chain.front().kind.format; format == "raw" || format == "iso") {
        struct stat status {};
        if (::fstat(chain.front().fd.get(), &status) != 0)
            return system_failure(fmt::format("cannot examine {}", plain.file.string()));
        progress.total_bytes = progress.done_bytes + static_cast<std::uint64_t>(status.st_size);
        source->fd_ = std::move(chain.front().fd);
        source->guard_.emplace(std::move(chain.front().guards.front()));
        return source;
    }
    GOLDLINK_TRY_ASSIGN(auto spooled, SpoolFile::create(spool));
    source->spooled_.emplace(std::move(spooled));
    GOLDLINK_TRY(flatten(chain, source->spooled_->path(), progress));
    for (const ChainFile& file : chain) GOLDLINK_TRY(file.check_unchanged());
    GOLDLINK_TRY_ASSIGN(source->fd_, open_reading(source->spooled_->path()));
    return source;
}

Result<> ImageSource::check_unchanged() const { return guard_ ? guard_->check() : Result<>(); }

}  // namespace goldlink::store
