#include "manager/cli/source_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <vector>

#include "common/check.hpp"
#include "common/hex.hpp"
#include "common/image_verdict.hpp"
#include "manager/cli/raw_disk.hpp"

namespace goldlink::cli {

void SourceFile::FreeHash::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

Result<SourceFile> SourceFile::open(const std::string& path) {
    SourceFile source;
    source.fd_ = FileDescriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!source.fd_) return system_failure(fmt::format("cannot open {}", path));
    struct stat status {};
    if (::fstat(source.fd_.get(), &status) != 0)
        return system_failure(fmt::format("cannot look at {}", path));
    if (!S_ISREG(status.st_mode))
        return failure(ErrorKind::invalid, fmt::format("{} is not a regular file", path));
    if (status.st_size == 0) return failure(ErrorKind::invalid, fmt::format("{} is empty", path));
    GOLDLINK_TRY_ASSIGN(source.guard_, SourceGuard::begin(source.fd_.get(), path));
    source.path_ = path;
    source.size_ = static_cast<std::uint64_t>(status.st_size);
    source.hash_.reset(EVP_MD_CTX_new());
    CHECK(source.hash_ && EVP_DigestInit_ex(source.hash_.get(), EVP_sha256(), nullptr) == 1,
          "SHA-256 is there");
    static_cast<void>(::posix_fadvise(source.fd_.get(), 0, 0, POSIX_FADV_SEQUENTIAL));
    return source;
}

std::string SourceFile::name() const { return std::filesystem::path(path_).filename().string(); }

Result<std::size_t> SourceFile::read(char* buffer, std::size_t size) {
    size = static_cast<std::size_t>(std::min<std::uint64_t>(size, size_ - offset_));
    if (size == 0) return std::size_t{0};
    for (;;) {
        const ssize_t n = ::pread(fd_.get(), buffer, size, static_cast<off_t>(offset_));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return system_failure(fmt::format("cannot read {}", path_));
        if (n == 0)
            return failure(ErrorKind::io,
                           fmt::format("{} became shorter while it was read", path_));
        const auto count = static_cast<std::uint64_t>(n);
        if (hashed_ >= offset_ && hashed_ < offset_ + count) {
            const std::uint64_t skip = hashed_ - offset_;
            CHECK(EVP_DigestUpdate(hash_.get(), buffer + skip, count - skip) == 1, "it hashes");
            hashed_ = offset_ + count;
        }
        offset_ += count;
        return static_cast<std::size_t>(n);
    }
}

Result<> SourceFile::check_importable(std::string_view format) const {
    GOLDLINK_TRY_ASSIGN(const DiskEnds ends, read_ends(fd_.get(), path_, size_));
    return not_imported(goldlink::check_importable({path_, size_, ends.first, ends.last}, format));
}

Result<std::string> SourceFile::format() const {
    GOLDLINK_TRY_ASSIGN(const DiskEnds ends, read_ends(fd_.get(), path_, size_));
    return ends.format(path_);
}

Result<std::string> SourceFile::sha256() {
    std::vector<char> buffer(1 << 20);
    seek(hashed_);
    while (hashed_ < size_) GOLDLINK_TRY(read(buffer.data(), buffer.size()));
    std::uint8_t digest[32];
    CHECK(EVP_DigestFinal_ex(hash_.get(), digest, nullptr) == 1, "it hashes");
    return to_hex(Bytes(digest, sizeof digest));
}

}  // namespace goldlink::cli
