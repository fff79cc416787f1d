// VersionTransfer: a version that comes from another store, only the chunks that are missing here.
// One that is here but damaged counts as missing, and is mended by what comes. What arrived is
// kept, as orphans that nobody sweeps, while this object lives; the version is made once all of its
// chunks are there. Threads: one at a time; each call may block on the disk.
#pragma once

#include <filesystem>
#include <functional>
#include <vector>

#include "target/store/chunk_writer.hpp"

namespace goldlink::store {

class VersionTransfer {
  public:
    // What the store does when all is there.
    struct Ends {
        std::function<Result<VersionInfo>(ChunkWriter& writer, const Manifest& manifest)> finish;
        std::function<Result<RepairResult>(ChunkWriter& writer, const Manifest& manifest)> mend;
    };
    VersionTransfer(ChunkStore& store, std::unique_ptr<ChunkWriter> writer, Ends ends)
        : store_(store), writer_(std::move(writer)), ends_(std::move(ends)) {}

    // Of digests one after the other: for each a byte, 1 when its chunk is not here or is bad.
    Result<std::vector<std::uint8_t>> missing(Bytes digests);
    // Whole chunks one after the other. A chunk is known by what its bytes hash to, so one that was
    // damaged on the way stays missing.
    Result<> store(Bytes chunks);
    // Makes the version of the manifest in `file`. conflict while chunks of it are missing or bad.
    Result<VersionInfo> finish(const std::filesystem::path& file, const Digest& digest);
    // Instead of finish(), when the version is there: says what came mended of it, and makes its
    // manifest anew if that is lost. What is bad still may be.
    Result<RepairResult> mend(const std::filesystem::path& file, const Digest& digest);

  private:
    ChunkStore& store_;
    std::unique_ptr<ChunkWriter> writer_;
    Ends ends_;
    Hasher hasher_;
};

// Whether the store has no good chunk of this digest.
Result<bool> lacks_chunk(ChunkStore& store, const ChunkIndex::Transaction& txn,
                         const Digest& digest);
// The chunks of these digests, checked, one after the other.
Result<std::vector<std::uint8_t>> read_chunks(ChunkStore& store, Bytes digests);
// The same, handed to `take` a few at a time, and not checked: whoever gets them does that.
// not_found, before anything is handed on, when one is not here.
Result<> pass_chunks(ChunkStore& store, Bytes digests, const std::function<Result<>(Bytes)>& take);

}  // namespace goldlink::store
