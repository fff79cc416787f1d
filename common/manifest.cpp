#include "common/manifest.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "common/chunk_frame.hpp"

namespace goldlink {

namespace {

constexpr std::string_view kMagic = "GLmanif\n";
constexpr std::uint32_t kFormatVersion = 1;
constexpr std::uint64_t kSectorBytes = 512;

static_assert(kChunkBytes == kFrameChunkBytes && sizeof(Digest) == kDigestBytes);

}  // namespace

std::uint64_t chunk_count_of(std::uint64_t size_bytes) {
    return (size_bytes + kChunkBytes - 1) / kChunkBytes;
}

std::uint64_t manifest_bytes_of(std::uint64_t size_bytes) {
    return kManifestHeaderBytes + chunk_count_of(size_bytes) * sizeof(Digest);
}

std::uint64_t disk_bytes_of_file(std::uint64_t file_bytes) {
    return (file_bytes + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
}

std::array<std::uint8_t, kManifestHeaderBytes> Manifest::header() const {
    std::array<std::uint8_t, kManifestHeaderBytes> header{};
    std::memcpy(header.data(), kMagic.data(), kMagic.size());
    store_le32(header.data() + 8, kFormatVersion);
    store_le32(header.data() + 12, static_cast<std::uint32_t>(kChunkBytes));
    store_le64(header.data() + 16, size_bytes);
    store_le64(header.data() + 24, chunks.size());
    return header;
}

Digest Manifest::digest() const {
    Hasher hasher;
    hasher.start();
    hasher.add(Bytes(header()));
    static constexpr std::array<std::uint8_t, ChunkList::kPartChunks * sizeof(Digest)> kZeros{};
    for (std::size_t part = 0; part < chunks.part_count(); ++part) {
        const Bytes bytes = chunks.part_bytes(part);
        hasher.add(bytes.empty() ? Bytes(kZeros).first(chunks.chunks_in_part(part) * sizeof(Digest))
                                 : bytes);
    }
    return hasher.finish();
}

std::uint64_t Manifest::stored_chunks() const {
    std::uint64_t count = 0;
    for (std::size_t i = chunks.skip_zeros(0); i < chunks.size(); i = chunks.skip_zeros(i + 1))
        if (!is_zero(chunks[i])) ++count;
    return count;
}

std::vector<Digest> Manifest::distinct_chunks() const {
    std::vector<Digest> distinct;
    for (std::size_t i = chunks.skip_zeros(0); i < chunks.size(); i = chunks.skip_zeros(i + 1))
        if (!is_zero(chunks[i])) distinct.push_back(chunks[i]);
    std::sort(distinct.begin(), distinct.end());
    distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
    return distinct;
}

Result<std::uint64_t> manifest_disk_bytes(Bytes header) {
    if (header.size() < kManifestHeaderBytes) return failure(ErrorKind::corrupt, "is cut short");
    if (as_text(header.first(kMagic.size())) != kMagic)
        return failure(ErrorKind::corrupt, "does not begin as a manifest");
    if (load_le32(header.data() + 8) != kFormatVersion)
        return failure(ErrorKind::invalid,
                       fmt::format("has format {}, this program reads {}: start the newer program "
                                   "that wrote it",
                                   load_le32(header.data() + 8), kFormatVersion));
    const std::uint64_t size_bytes = load_le64(header.data() + 16);
    if (size_bytes > kMaxDiskBytes || load_le64(header.data() + 24) != chunk_count_of(size_bytes))
        return failure(ErrorKind::corrupt, "has a header that contradicts itself");
    return size_bytes;
}

}  // namespace goldlink
