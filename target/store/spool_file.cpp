#include "target/store/spool_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include "common/file.hpp"
#include "common/hex.hpp"

namespace goldlink::store {

SpoolFile::~SpoolFile() {
    if (!path_.empty()) ::unlink(path_.c_str());
}

Result<SpoolFile> SpoolFile::create(const std::filesystem::path& folder) {
    SpoolFile file(folder / random_uuid());
    const FileDescriptor fd(
        ::open(file.path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!fd) return system_failure("cannot create " + file.path_.string());
    return file;
}

}  // namespace goldlink::store
