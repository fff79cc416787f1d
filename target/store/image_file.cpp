#include "target/store/image_file.hpp"

#include <sys/stat.h>

namespace goldlink::store {

Result<ImageFile> examine_image(int fd, const std::string& name) {
    struct stat status {};
    if (::fstat(fd, &status) != 0) return system_failure(fmt::format("cannot examine {}", name));
    if (!S_ISREG(status.st_mode))
        return failure(ErrorKind::invalid, fmt::format("{} is not a file", name));
    const ImageFile file{fd, name, static_cast<std::uint64_t>(status.st_size)};
    if (file.size_bytes == 0) return refuse(file, "is empty");
    return file;
}

}  // namespace goldlink::store
