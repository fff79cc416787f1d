#include "target/store/version_transfer.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "target/store/manifest_file.hpp"

namespace goldlink::store {

namespace {

Digest digest_at(Bytes digests, std::size_t index) {
    Digest digest;
    std::copy_n(digests.begin() + static_cast<std::ptrdiff_t>(index * sizeof digest), sizeof digest,
                digest.begin());
    return digest;
}

}  // namespace

Result<std::vector<std::uint8_t>> VersionTransfer::missing(Bytes digests) {
    GOLDLINK_TRY(writer_->flush());
    GOLDLINK_TRY_ASSIGN(const auto txn, store_.index().begin_read());
    std::vector<std::uint8_t> answer(digests.size() / sizeof(Digest));
    for (std::size_t i = 0; i < answer.size(); ++i) {
        const Digest digest = digest_at(digests, i);
        if (is_zero(digest)) continue;
        GOLDLINK_TRY_ASSIGN(const bool lacking, lacks_chunk(store_, txn, digest));
        answer[i] = lacking ? 1 : 0;
    }
    GOLDLINK_TRY(writer_->expect(
        static_cast<std::uint64_t>(std::count(answer.begin(), answer.end(), std::uint8_t{1}))));
    return answer;
}

Result<> VersionTransfer::store(Bytes chunks) {
    for (std::size_t at = 0; at + kChunkBytes <= chunks.size(); at += kChunkBytes)
        GOLDLINK_TRY(writer_->store(chunks.data() + at, hasher_));
    return {};
}

Result<VersionInfo> VersionTransfer::finish(const std::filesystem::path& file,
                                            const Digest& digest) {
    GOLDLINK_TRY_ASSIGN(const Manifest manifest,
                        read_manifest_file(store_.storage(), file, digest));
    if (manifest.size_bytes == 0 || manifest.size_bytes % 512 != 0)
        return failure(ErrorKind::invalid,
                       fmt::format("a disk of {} bytes has no whole sectors", manifest.size_bytes));
    GOLDLINK_TRY(writer_->flush());
    std::size_t missing = 0;
    {
        GOLDLINK_TRY_ASSIGN(const auto txn, store_.index().begin_read());
        for (const Digest& chunk : manifest.distinct_chunks()) {
            GOLDLINK_TRY_ASSIGN(const bool lacking, lacks_chunk(store_, txn, chunk));
            if (lacking) ++missing;
        }
    }
    if (missing > 0)
        return failure(
            ErrorKind::conflict,
            fmt::format("{} chunks of the version are missing or damaged here; send them first",
                        missing));
    return ends_.finish(*writer_, manifest);
}

Result<RepairResult> VersionTransfer::mend(const std::filesystem::path& file,
                                           const Digest& digest) {
    GOLDLINK_TRY_ASSIGN(const Manifest manifest,
                        read_manifest_file(store_.storage(), file, digest));
    return ends_.mend(*writer_, manifest);
}

Result<bool> lacks_chunk(ChunkStore& store, const ChunkIndex::Transaction& txn,
                         const Digest& digest) {
    GOLDLINK_TRY_ASSIGN(const auto known, txn.chunk(digest));
    if (!known) return true;
    if (store.bad_chunks().empty()) return false;
    GOLDLINK_TRY_ASSIGN(const auto bad, txn.bad(digest));
    return bad.has_value();
}

Result<std::vector<std::uint8_t>> read_chunks(ChunkStore& store, Bytes digests) {
    const std::size_t count = digests.size() / sizeof(Digest);
    std::vector<std::uint8_t> chunks(count * kChunkBytes);
    Hasher hasher;
    for (std::size_t i = 0; i < count; ++i) {
        const Digest digest = digest_at(digests, i);
        std::optional<ChunkRecord> record;
        {
            GOLDLINK_TRY_ASSIGN(const auto txn, store.index().begin_read());
            GOLDLINK_TRY_ASSIGN(record, txn.chunk(digest));
        }
        if (!record)
            return failure(ErrorKind::not_found,
                           fmt::format("there is no chunk {} here", to_hex(digest)));
        std::uint8_t* const chunk = chunks.data() + i * kChunkBytes;
        GOLDLINK_TRY(store.packs().read(record->slot, chunk));
        if (hasher.hash(Bytes(chunk, kChunkBytes)) != digest)
            return failure(ErrorKind::corrupt,
                           fmt::format("chunk {} is corrupt in the store; verify the version it "
                                       "belongs to",
                                       to_hex(digest)));
    }
    return chunks;
}

}  // namespace goldlink::store
