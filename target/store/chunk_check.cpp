#include "target/store/chunk_check.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "common/log.hpp"

namespace goldlink::store {

ChunkCheck::ChunkCheck(ChunkIndex& index, Packs& packs, Fault fault)
    : index_(index),
      packs_(packs),
      fault_(std::move(fault)),
      buffer_(static_cast<std::uint8_t*>(std::aligned_alloc(4096, kChunkBytes)), std::free) {}

BadReason reason_of(const Error& error) {
    if (error.kind == ErrorKind::not_found) return BadReason::file_missing;
    if (error.kind == ErrorKind::corrupt) return BadReason::file_short;
    return error.errno_value == EIO ? BadReason::unreadable : BadReason::file_refused;
}

Result<> ChunkCheck::read_disk(std::uint64_t slot) {
    GOLDLINK_TRY_ASSIGN(auto pack, packs_.pack_of_slot(slot, false));
    if (pack != pack_) {
        pack_ = std::move(pack);
        // Opened anew: O_DIRECT on the shared description would change it for every reader.
        direct_ = FileDescriptor(::open(("/proc/self/fd/" + std::to_string(pack_->read)).c_str(),
                                        O_RDONLY | O_DIRECT | O_CLOEXEC));
    }
    if (const int code = fault_ ? fault_(slot) : 0; code != 0)
        return system_failure("cannot read a chunk", code);
    const auto offset = static_cast<off_t>((slot % kSlotsPerPack) * kChunkBytes);
    if (direct_) {
        const ssize_t n = ::pread(direct_.get(), buffer_.get(), kChunkBytes, offset);
        if (n == static_cast<ssize_t>(kChunkBytes)) return {};
        if (n < 0 && errno == EIO) return system_failure("cannot read a chunk", EIO);
    }
    return packs_.read(slot, buffer_.get());
}

// The disk lost what memory still has: written again, the drive puts it elsewhere if it must.
bool ChunkCheck::rewrite_from_memory(std::uint64_t slot, const Digest& digest) {
    if (!packs_.read(slot, buffer_.get()) || hasher_.hash(chunk()) != digest) return false;
    if (!packs_.write(slot, buffer_.get()) || !packs_.sync({slot})) return false;
    if (!read_disk(slot) || hasher_.hash(chunk()) != digest) return false;
    log::warn(
        "chunk {} had gone bad on the disk and was written again from memory: look at the "
        "disk that the image store is on",
        to_hex(digest));
    return true;
}

std::optional<BadReason> ChunkCheck::check_slot(std::uint64_t slot, const Digest& digest) {
    BadReason reason = BadReason::corrupt;
    if (const auto read = read_disk(slot); !read)
        reason = reason_of(read.error());
    else if (hasher_.hash(chunk()) == digest)
        return std::nullopt;
    if (rewrite_from_memory(slot, digest)) return std::nullopt;
    return reason;
}

Result<ChunkCheck::Answer> ChunkCheck::look_at(const Digest& digest) {
    constexpr int kMaxMoves = 4;
    for (int i = 0;; ++i) {
        std::optional<ChunkRecord> record, after;
        {
            GOLDLINK_TRY_ASSIGN(const auto txn, index_.begin_read());
            GOLDLINK_TRY_ASSIGN(record, txn.chunk(digest));
        }
        if (!record) return Answer{BadReason::lost, kLostChunk};
        const auto bad = check_slot(record->slot, digest);
        if (!bad) return Answer{std::nullopt, location_of_slot(record->slot)};
        // The index forgets a chunk before its slot is used for another.
        {
            GOLDLINK_TRY_ASSIGN(const auto txn, index_.begin_read());
            GOLDLINK_TRY_ASSIGN(after, txn.chunk(digest));
        }
        if (!after) return Answer{std::nullopt, kLostChunk};
        if (after->slot == record->slot || i == kMaxMoves)
            return Answer{bad, location_of_slot(record->slot)};
    }
}

Result<> ChunkCheck::read_back(std::uint64_t slot, const Digest& digest) {
    GOLDLINK_TRY(read_disk(slot));
    if (hasher_.hash(chunk()) != digest)
        return failure(ErrorKind::corrupt,
                       "chunk " + to_hex(digest) + " does not read back as it was written");
    return {};
}

}  // namespace goldlink::store
