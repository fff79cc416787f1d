#include "target/store/version_transfer.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "target/store/manifest_file.hpp"

namespace goldlink::store {

namespace {

constexpr std::size_t kPassedAtOnce = 8;  // what stays in a processor's cache

Digest digest_at(Bytes digests, std::size_t index) {
    Digest digest;
    std::copy_n(digests.begin() + static_cast<std::ptrdiff_t>(index * sizeof digest), sizeof digest,
                digest.begin());
    return digest;
}

Result<std::vector<std::uint64_t>> slots_of(ChunkStore& store, Bytes digests) {
    std::vector<std::uint64_t> slots(digests.size() / sizeof(Digest));
    GOLDLINK_TRY_ASSIGN(const auto txn, store.index().begin_read());
    for (std::size_t i = 0; i < slots.size(); ++i) {
        GOLDLINK_TRY_ASSIGN(const auto record, txn.chunk(digest_at(digests, i)));
        if (!record)
            return failure(ErrorKind::not_found,
                           fmt::format("there is no chunk {} here", to_hex(digest_at(digests, i))));
        slots[i] = record->slot;
    }
    return slots;
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
    GOLDLINK_TRY_ASSIGN(const auto slots, slots_of(store, digests));
    std::vector<std::uint8_t> chunks(slots.size() * kChunkBytes);
    Hasher hasher;
    for (std::size_t i = 0; i < slots.size(); ++i) {
        std::uint8_t* const chunk = chunks.data() + i * kChunkBytes;
        GOLDLINK_TRY(store.packs().read(slots[i], chunk));
        if (const Digest digest = digest_at(digests, i);
            hasher.hash(Bytes(chunk, kChunkBytes)) != digest)
            return failure(ErrorKind::corrupt,
                           fmt::format("chunk {} is corrupt in the store; verify the version it "
                                       "belongs to",
                                       to_hex(digest)));
    }
    return chunks;
}

Result<> pass_chunks(ChunkStore& store, Bytes digests, const std::function<Result<>(Bytes)>& take) {
    GOLDLINK_TRY_ASSIGN(const auto slots, slots_of(store, digests));
    std::vector<std::uint8_t> chunks(std::min(kPassedAtOnce, slots.size()) * kChunkBytes);
    for (std::size_t at = 0; at < slots.size(); at += kPassedAtOnce) {
        const std::size_t count = std::min(kPassedAtOnce, slots.size() - at);
        for (std::size_t i = 0; i < count; ++i)
            GOLDLINK_TRY(store.packs().read(slots[at + i], chunks.data() + i * kChunkBytes));
        GOLDLINK_TRY(take(Bytes(chunks).first(count * kChunkBytes)));
    }
    return {};
}

}  // namespace goldlink::store
