#include "target/store/manifest.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "target/store/image_store.hpp"
#include "target/store/unusable_file.hpp"

namespace goldlink::store {

namespace {

constexpr std::string_view kMagic = "GLmanif\n";
constexpr std::uint32_t kFormatVersion = 1;
constexpr std::size_t kHeaderBytes = 64;

using Header = std::array<std::uint8_t, kHeaderBytes>;

struct Closer {
    Storage& storage;
    int fd;
    ~Closer() { storage.close(fd); }
};

Header encode_header(const Manifest& manifest) {
    Header header{};
    std::memcpy(header.data(), kMagic.data(), kMagic.size());
    store_le32(header.data() + 8, kFormatVersion);
    store_le32(header.data() + 12, static_cast<std::uint32_t>(kChunkBytes));
    store_le64(header.data() + 16, manifest.size_bytes);
    store_le64(header.data() + 24, manifest.chunks.size());
    return header;
}

Failure corrupt_manifest(const std::filesystem::path& file, const char* why) {
    return failure(ErrorKind::corrupt,
                   fmt::format("manifest {} {}; restore it from a backup, or repair the version "
                               "from the file that it was made of",
                               file.string(), why));
}

Bytes digests_as_bytes(const std::vector<Digest>& digests) {
    static_assert(sizeof(Digest) == 32);
    return {reinterpret_cast<const std::uint8_t*>(digests.data()), digests.size() * sizeof(Digest)};
}

}  // namespace

std::uint64_t chunk_count_of(std::uint64_t size_bytes) {
    return (size_bytes + kChunkBytes - 1) / kChunkBytes;
}

Digest Manifest::digest() const {
    Hasher hasher;
    hasher.start();
    hasher.add(Bytes(encode_header(*this)));
    hasher.add(digests_as_bytes(chunks));
    return hasher.finish();
}

std::vector<Digest> Manifest::distinct_chunks() const {
    std::vector<Digest> distinct = chunks;
    std::erase_if(distinct, [](const Digest& chunk) { return is_zero(chunk); });
    std::sort(distinct.begin(), distinct.end());
    distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
    return distinct;
}

Result<> Manifest::write(Storage& storage, const std::filesystem::path& file) const {
    const Header header = encode_header(*this);
    std::string content;
    content.reserve(kHeaderBytes + chunks.size() * sizeof(Digest));
    content.append(as_text(Bytes(header)));
    content.append(as_text(digests_as_bytes(chunks)));
    return replace_file(storage, file, content);
}

Result<> Manifest::probe(Storage& storage, const std::filesystem::path& file,
                         std::uint64_t size_bytes) {
    const int fd = storage.open_read_only(file);
    if (fd < 0) return unusable_file("manifest", file, -fd);
    const Closer closer{storage, fd};
    const std::uint64_t expected = kHeaderBytes + chunk_count_of(size_bytes) * sizeof(Digest);
    const std::int64_t size = storage.size(fd);
    if (size < 0) return unusable_file("manifest", file, static_cast<int>(-size));
    if (static_cast<std::uint64_t>(size) < expected) return corrupt_manifest(file, "is cut short");
    return {};
}

Result<Manifest> Manifest::read(Storage& storage, const std::filesystem::path& file,
                                const Digest& digest) {
    const auto corrupt = [&file](const char* why) { return corrupt_manifest(file, why); };
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
    Header header{};
    GOLDLINK_TRY_ASSIGN(const bool has_header, read_all(header.data(), header.size(), 0));
    if (!has_header) return corrupt("is cut short");
    if (as_text(Bytes(header).first(8)) != kMagic) return corrupt("does not begin as a manifest");
    if (load_le32(header.data() + 8) != kFormatVersion)
        return failure(ErrorKind::invalid,
                       fmt::format("manifest {} has format {}, this program reads {}",
                                   file.string(), load_le32(header.data() + 8), kFormatVersion));
    Manifest manifest;
    manifest.size_bytes = load_le64(header.data() + 16);
    const std::uint64_t count = load_le64(header.data() + 24);
    if (manifest.size_bytes > kMaxDiskBytes || count != chunk_count_of(manifest.size_bytes) ||
        storage.size(fd) != static_cast<std::int64_t>(kHeaderBytes + count * sizeof(Digest)))
        return corrupt("has a length that contradicts its header");
    manifest.chunks.resize(count);
    GOLDLINK_TRY_ASSIGN(const bool whole,
                        read_all(reinterpret_cast<std::uint8_t*>(manifest.chunks.data()),
                                 count * sizeof(Digest), kHeaderBytes));
    if (!whole) return corrupt("is cut short");
    if (manifest.digest() != digest) return corrupt("does not match its digest");
    return manifest;
}

}  // namespace goldlink::store
