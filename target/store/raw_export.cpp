#include "target/store/raw_export.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "common/file.hpp"
#include "target/store/image_convert.hpp"
#include "target/store/spool_file.hpp"

namespace goldlink::store {

namespace {

Result<> write_at(int fd, const std::uint8_t* bytes, std::uint64_t length, std::uint64_t offset,
                  const std::string& name) {
    for (std::uint64_t done = 0; done < length;) {
        const ssize_t n =
            ::pwrite(fd, bytes + done, length - done, static_cast<off_t>(offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return system_failure(fmt::format("cannot write {}", name));
        done += static_cast<std::uint64_t>(n);
    }
    return {};
}

Result<> write_raw(const Manifest& manifest, ChunkStore& store, int fd, const std::string& name,
                   Progress& progress) {
    if (::ftruncate(fd, static_cast<off_t>(manifest.size_bytes)) != 0)
        return system_failure(fmt::format("cannot size {}", name));
    std::vector<std::uint8_t> chunk(kChunkBytes);
    Hasher hasher;
    for (std::size_t i = 0; i < manifest.chunks.size(); ++i) {
        if (progress.cancel) return failure(ErrorKind::cancelled, "the export was cancelled");
        const std::uint64_t offset = i * kChunkBytes;
        const std::uint64_t length = std::min(kChunkBytes, manifest.size_bytes - offset);
        progress.done_bytes += length;
        if (is_zero(manifest.chunks[i])) continue;
        std::optional<ChunkRecord> record;
        {
            GOLDLINK_TRY_ASSIGN(const auto txn, store.index().begin_read());
            GOLDLINK_TRY_ASSIGN(record, txn.chunk(manifest.chunks[i]));
        }
        if (!record)
            return failure(ErrorKind::corrupt, fmt::format("chunk {} is missing from the store",
                                                           to_hex(manifest.chunks[i])));
        GOLDLINK_TRY(store.packs().read(record->slot, chunk.data()));
        if (hasher.hash(chunk) != manifest.chunks[i])
            return failure(ErrorKind::corrupt,
                           fmt::format("the chunk at byte {} of the disk is corrupt in the store; "
                                       "verify the version and import the image again",
                                       offset));
        GOLDLINK_TRY(write_at(fd, chunk.data(), length, offset, name));
    }
    if (::fsync(fd) != 0) return system_failure(fmt::format("cannot sync {}", name));
    return {};
}

}  // namespace

Result<> export_manifest(const Manifest& manifest, ChunkStore& store,
                         const std::filesystem::path& file, const std::string& format,
                         const std::filesystem::path& spool, Progress& progress) {
    GOLDLINK_TRY(check_format_name(format));
    if (format == "iso")
        return failure(ErrorKind::invalid,
                       "an ISO image is exported as raw: its bytes as they are");
    FileDescriptor fd(::open(file.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (!fd) {
        if (errno == EEXIST)
            return failure(ErrorKind::conflict,
                           fmt::format("{} exists already; export to a new file", file.string()));
        return system_failure(fmt::format("cannot create {}", file.string()));
    }
    SpoolFile unfinished(file);  // removes it unless kept
    if (format == "raw" || format.empty()) {
        progress.total_bytes = manifest.size_bytes;
        GOLDLINK_TRY(write_raw(manifest, store, fd.get(), file.string(), progress));
    } else {
        // qemu-img reads the spooled raw disk: half of the progress each.
        progress.total_bytes = manifest.size_bytes * 2;
        GOLDLINK_TRY_ASSIGN(const SpoolFile raw, SpoolFile::create(spool));
        FileDescriptor raw_fd(::open(raw.path().c_str(), O_RDWR | O_CLOEXEC));
        if (!raw_fd) return system_failure(fmt::format("cannot open {}", raw.path().string()));
        GOLDLINK_TRY(write_raw(manifest, store, raw_fd.get(), raw.path().string(), progress));
        GOLDLINK_TRY(convert_from_raw(raw.path(), manifest.size_bytes, file, format, progress));
        if (::fsync(fd.get()) != 0)
            return system_failure(fmt::format("cannot sync {}", file.string()));
    }
    unfinished.keep();
    return {};
}

}  // namespace goldlink::store
