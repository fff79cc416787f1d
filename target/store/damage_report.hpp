// DamageReport: what is wrong with a version, in an admin's words: its manifest is gone or cannot
// be used, or some of its chunks are bad. Which versions have which bad chunks is worked out anew
// when the list of bad chunks has changed. Threads: any.
#pragma once

#include <atomic>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "target/store/chunk_store.hpp"

namespace goldlink::store {

class DamageReport {
  public:
    struct Damage {
        std::uint64_t bad_bytes = 0;
        std::string message;  // "": none is known
    };
    Damage of(const Digest& version, std::uint64_t size_bytes,
              const std::filesystem::path& manifest, ChunkStore& store);
    // What reading the version's manifest has shown; nullopt: it is as it must be.
    void note_manifest(const Digest& version, const std::optional<Error>& error);
    // Counts what note_manifest() has changed.
    std::uint64_t revision() const { return noted_.load(std::memory_order_acquire); }

  private:
    struct PackDamage {
        std::uint64_t chunks = 0, slots_needed = 0;
    };
    Damage count(const Digest& version, const std::filesystem::path& manifest, ChunkStore& store);
    static Damage describe(std::uint64_t bad_bytes, const std::map<BadReason, std::uint64_t>& by,
                           const std::map<std::uint64_t, PackDamage>& by_pack, ChunkStore& store);

    std::mutex mutex_;
    std::atomic<std::uint64_t> noted_{0};
    std::uint64_t revision_ = 0;        // of the list of bad chunks
    std::map<Digest, Damage> counted_;  // at revision_
    std::map<Digest, std::string> manifests_;
};

}  // namespace goldlink::store
