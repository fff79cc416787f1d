#include "target/store/manifest_file.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "target/store/unusable_file.hpp"

namespace goldlink::store {

namespace {

struct Closer {
    Storage& storage;
    int fd;
    ~Closer() { storage.close(fd); }
};

Failure corrupt_manifest(const std::filesystem::path& file, std::string_view why) {
    return failure(ErrorKind::corrupt,
                   fmt::format("manifest {} {}; restore it from a backup, or repair the version "
                               "from the file that it was made of",
                               file.string(), why));
}

}  // namespace

Result<> write_manifest_file(Storage& storage, const std::filesystem::path& file,
                             const Manifest& manifest) {
    const std::filesystem::path temporary = file.string() + ".new";
    const auto refused = [&](int error) {
        storage.remove(temporary);
        return system_failure(fmt::format("cannot write {}", file.string()), -error);
    };
    if (const int error = storage.remove(temporary); error < 0) return refused(error);
    const int fd = storage.open(temporary, true);
    if (fd < 0) return refused(fd);
    const auto header = manifest.header();
    int error = write_all(storage, fd, header.data(), header.size(), 0);
    // Parts without a chunk become holes.
    constexpr std::uint64_t kPartBytes = ChunkList::kPartChunks * sizeof(Digest);
    for (std::size_t part = 0; error == 0 && part < manifest.chunks.part_count(); ++part)
        if (const Bytes bytes = manifest.chunks.part_bytes(part); !bytes.empty())
            error = write_all(storage, fd, bytes.data(), bytes.size(),
                              kManifestHeaderBytes + part * kPartBytes);
    if (error == 0) error = storage.truncate(fd, manifest_bytes_of(manifest.size_bytes));
    if (error == 0) error = storage.sync(fd);
    storage.close(fd);
    if (error == 0) error = storage.rename(temporary, file);
    if (error < 0) return refused(error);
    return sync_folder(storage, file.parent_path());
}

Result<> probe_manifest_file(Storage& storage, const std::filesystem::path& file,
                             std::uint64_t size_bytes) {
    const int fd = storage.open_read_only(file);
    if (fd < 0) return unusable_file("manifest", file, -fd);
    const Closer closer{storage, fd};
    const std::int64_t size = storage.size(fd);
    if (size < 0) return unusable_file("manifest", file, static_cast<int>(-size));
    if (static_cast<std::uint64_t>(size) < manifest_bytes_of(size_bytes))
        return corrupt_manifest(file, "is cut short");
    return {};
}

Result<Manifest> read_manifest_file(Storage& storage, const std::filesystem::path& file,
                                    const Digest& digest) {
    const auto corrupt = [&file](std::string_view why) { return corrupt_manifest(file, why); };
    const int fd = storage.open_read_only(file);
    if (fd < 0) return unusable_file("manifest", file, -fd);
    const Closer closer{storage, fd};
    // False where the file ends before that.
    const auto read_all = [&](std::uint8_t* data, std::uint64_t length,
                              std::uint64_t offset) -> Result<bool> {
        for (std::uint64_t done = 0; done < length;) {
            const std::int64_t n = storage.read(fd, data + done, length - done, offset + done);
            if (n < 0)
                return system_failure(fmt::format("cannot read manifest {}", file.string()),
                                      static_cast<int>(-n));
            if (n == 0) return false;
            done += static_cast<std::uint64_t>(n);
        }
        return true;
    };
    std::array<std::uint8_t, kManifestHeaderBytes> header{};
    GOLDLINK_TRY_ASSIGN(const bool has_header, read_all(header.data(), header.size(), 0));
    if (!has_header) return corrupt("is cut short");
    const auto size_bytes = manifest_disk_bytes(header);
    if (!size_bytes && size_bytes.error().kind == ErrorKind::corrupt)
        return corrupt(size_bytes.error().message);
    if (!size_bytes)
        return failure(size_bytes.error().kind,
                       fmt::format("manifest {} {}", file.string(), size_bytes.error().message));
    Manifest manifest;
    manifest.size_bytes = *size_bytes;
    if (storage.size(fd) != static_cast<std::int64_t>(manifest_bytes_of(*size_bytes)))
        return corrupt("has a length that contradicts its header");
    manifest.chunks.resize(chunk_count_of(*size_bytes));
    std::vector<std::uint8_t> bytes(ChunkList::kPartChunks * sizeof(Digest));
    const std::uint64_t length = manifest.chunks.size() * sizeof(Digest);
    for (std::uint64_t at = 0; at < length; at += bytes.size()) {
        const std::uint64_t here = std::min<std::uint64_t>(bytes.size(), length - at);
        if (storage.taken_bytes(fd, kManifestHeaderBytes + at, here) == 0) continue;  // a hole
        GOLDLINK_TRY_ASSIGN(const bool whole,
                            read_all(bytes.data(), here, kManifestHeaderBytes + at));
        if (!whole) return corrupt("is cut short");
        manifest.chunks.write_bytes(at, Bytes(bytes).first(here));
    }
    if (manifest.digest() != digest) return corrupt("does not match its digest");
    return manifest;
}

}  // namespace goldlink::store
