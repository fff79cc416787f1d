// VersionReader: a version's chunks as bytes, each checked against its digest: for work that makes
// something new of them, where a corrupt chunk must not pass under a new name. Keeps its version
// open, so that nobody removes it. Threads: any; reading blocks.
#pragma once

#include <memory>

#include "common/manifest.hpp"
#include "target/store/chunk_store.hpp"

namespace goldlink::store {

class VersionReader {
  public:
    VersionReader(ChunkStore& store, std::shared_ptr<const Version> version, Manifest manifest)
        : store_(store), version_(std::move(version)), manifest_(std::move(manifest)) {}

    const std::string& digest() const { return version_->digest(); }
    std::uint64_t size_bytes() const { return manifest_.size_bytes; }
    const Manifest& manifest() const { return manifest_; }

    // Fills `data` (kChunkBytes; past the version's end zeros, also for chunks there).
    Result<> read(std::uint64_t chunk, std::uint8_t* data) const;

  private:
    ChunkStore& store_;
    const std::shared_ptr<const Version> version_;
    const Manifest manifest_;
};

}  // namespace goldlink::store
