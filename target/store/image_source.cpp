#include "target/store/image_source.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "target/store/image_convert.hpp"
#include "target/store/image_format.hpp"

namespace goldlink::store {

Result<std::unique_ptr<ImageSource>> ImageSource::open(const ImportRequest& request,
                                                       const std::filesystem::path& spool,
                                                       Progress& progress) {
    auto source = std::make_unique<ImageSource>();
    source->name_ = request.file.filename().string();
    FileDescriptor fd(::open(request.file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!fd) return system_failure(fmt::format("cannot open {}", request.file.string()));
    GOLDLINK_TRY_ASSIGN(const std::string format,
                        detect_format(fd.get(), source->name_, request.format));
    if (format == "raw" || format == "iso") {
        struct stat status {};
        if (::fstat(fd.get(), &status) != 0)
            return system_failure(fmt::format("cannot examine {}", request.file.string()));
        progress.total_bytes = static_cast<std::uint64_t>(status.st_size);
        source->fd_ = std::move(fd);
        return source;
    }
    GOLDLINK_TRY_ASSIGN(auto spooled, SpoolFile::create(spool));
    source->spooled_.emplace(std::move(spooled));
    GOLDLINK_TRY(
        convert_to_raw(request.file, source->name_, format, source->spooled_->path(), progress));
    source->fd_ = FileDescriptor(::open(source->spooled_->path().c_str(), O_RDONLY | O_CLOEXEC));
    if (!source->fd_)
        return system_failure(fmt::format("cannot open {}", source->spooled_->path().string()));
    return source;
}

}  // namespace goldlink::store
