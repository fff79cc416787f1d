// VersionTransfer: a version that comes from another store, only the chunks that are missing here.
// What arrived is kept, as orphans that nobody sweeps, while this object lives; the version is made
// once all of its chunks are there. Threads: one at a time; each call may block on the disk.
#pragma once

#include <filesystem>
#include <functional>
#include <vector>

#include "target/store/chunk_writer.hpp"

namespace goldlink::store {

class VersionTransfer {
  public:
    using Finish =
        std::function<Result<VersionInfo>(ChunkWriter& writer, const Manifest& manifest)>;
    VersionTransfer(ChunkStore& store, std::unique_ptr<ChunkWriter> writer, Finish finish)
        : store_(store), writer_(std::move(writer)), finish_(std::move(finish)) {}

    // Of digests one after the other: for each a byte, 1 when its chunk is not here.
    Result<std::vector<std::uint8_t>> missing(Bytes digests);
    // Whole chunks one after the other. A chunk is known by what its bytes hash to, so one that was
    // damaged on the way stays missing.
    Result<> store(Bytes chunks);
    // Makes the version of the manifest in `file`. conflict while chunks of it are missing.
    Result<VersionInfo> finish(const std::filesystem::path& file, const Digest& digest);

  private:
    ChunkStore& store_;
    std::unique_ptr<ChunkWriter> writer_;
    Finish finish_;
    Hasher hasher_;
};

// The chunks of these digests, checked, one after the other.
Result<std::vector<std::uint8_t>> read_chunks(ChunkStore& store, Bytes digests);

}  // namespace goldlink::store
