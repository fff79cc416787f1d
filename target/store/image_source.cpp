#include "target/store/image_source.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "target/store/image_chain.hpp"
#include "target/store/image_convert.hpp"
#include "target/store/unpack.hpp"
#include "target/store/vhd_difference.hpp"

namespace goldlink::store {

namespace {

// "win11.vhd.gz" holds "win11.vhd".
std::string unpacked_name(const std::string& name) {
    for (const std::string_view ending : {".gz", ".zst", ".xz"})
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

// What the file, if it is compressed, holds: a spooled file.
Result<std::optional<SpoolFile>> unpacked(const ImportRequest& request, const std::string& name,
                                          const std::filesystem::path& spool, Progress& progress) {
    GOLDLINK_TRY_ASSIGN(const FileDescriptor fd, open_reading(request.file));
    GOLDLINK_TRY_ASSIGN(const std::string compression, detect_compression(fd.get(), name));
    if (compression.empty()) return std::optional<SpoolFile>();
    GOLDLINK_TRY_ASSIGN(auto file, SpoolFile::create(spool));
    GOLDLINK_TRY(unpack(fd.get(), name, compression, file.path(), {}, progress));
    GOLDLINK_TRY_ASSIGN(const FileDescriptor inside, open_reading(file.path()));
    GOLDLINK_TRY_ASSIGN(const std::string again,
                        detect_compression(inside.get(), unpacked_name(name)));
    if (!again.empty())
        return failure(ErrorKind::invalid,
                       fmt::format("{} is compressed twice: what it unpacks to is {} again. "
                                   "Unpack it once yourself",
                                   name, again));
    return std::optional(std::move(file));
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
    for (std::size_t i = differences; i < chain.size(); ++i)
        layers.push_back({chain[i].file, chain[i].name, chain[i].kind.format, chain[i].extents});
    GOLDLINK_TRY(convert_to_raw(layers, raw, later, progress));
    for (std::size_t i = differences; i-- > 0;)
        GOLDLINK_TRY(
            apply_vhd_difference(chain[i].file, chain[i].name, chain[i].kind, raw, progress));
    return {};
}

}  // namespace

Result<std::unique_ptr<ImageSource>> ImageSource::open(const ImportRequest& request,
                                                       const std::filesystem::path& spool,
                                                       Progress& progress) {
    auto source = std::make_unique<ImageSource>();
    source->name_ = request.file.filename().string();
    ImportRequest plain = request;
    {
        GOLDLINK_TRY_ASSIGN(auto file, unpacked(request, source->name_, spool, progress));
        if (file) {
            source->name_ = unpacked_name(source->name_);
            plain.file = file->path();
            plain.companions.clear();  // an image in a compressed file is whole
            plain.beside = false;
            source->unpacked_.emplace(std::move(*file));
        }
    }
    GOLDLINK_TRY_ASSIGN(auto chain, open_chain(plain, source->name_));
    if (const std::string& format = chain.front().kind.format; format == "raw" || format == "iso") {
        struct stat status {};
        if (::fstat(chain.front().fd.get(), &status) != 0)
            return system_failure(fmt::format("cannot examine {}", plain.file.string()));
        progress.total_bytes = progress.done_bytes + static_cast<std::uint64_t>(status.st_size);
        source->fd_ = std::move(chain.front().fd);
        return source;
    }
    GOLDLINK_TRY_ASSIGN(auto spooled, SpoolFile::create(spool));
    source->spooled_.emplace(std::move(spooled));
    GOLDLINK_TRY(flatten(chain, source->spooled_->path(), progress));
    GOLDLINK_TRY_ASSIGN(source->fd_, open_reading(source->spooled_->path()));
    return source;
}

}  // namespace goldlink::store
