#include "target/store/verify.hpp"

#include <algorithm>
#include <unordered_set>

#include "target/store/chunk_check.hpp"

namespace goldlink::store {

namespace {

// Gone over in a few milliseconds: what is found bad is bad for everybody that soon.
constexpr std::size_t kChunksATime = 64;

// The distinct chunks of a version, some at a time, with what became of them.
class Verification {
  public:
    explicit Verification(ChunkStore& store)
        : store_(store), check_(store.index(), store.packs()) {}

    Result<> look_at(const Digest& digest) {
        if (!seen_.insert(digest).second) return {};
        GOLDLINK_TRY_ASSIGN(const auto answer, check_.look_at(digest));
        GOLDLINK_TRY_ASSIGN(const bool listed, store_.bad_chunks().has(digest));
        if (answer.bad)
            (listed ? bad_ : suspects_).push_back(digest);
        else if (listed && answer.location != kLostChunk)
            good_again_.push_back({digest, answer.location});
        return {};
    }
    Result<> settle() {
        GOLDLINK_TRY(store_.bad_chunks().clear_read_right(std::exchange(good_again_, {})));
        GOLDLINK_TRY_ASSIGN(const auto marked,
                            store_.bad_chunks().mark(std::exchange(suspects_, {})));
        bad_.insert(bad_.end(), marked.begin(), marked.end());
        return {};
    }
    std::vector<Digest> bad() && { return std::move(bad_); }

  private:
    ChunkStore& store_;
    ChunkCheck check_;
    std::unordered_set<Digest, DigestHash> seen_;
    std::vector<Digest> suspects_, bad_;
    std::vector<ChunkPlace> good_again_;
};

}  // namespace

Result<std::vector<Digest>> bad_chunks_of(const Manifest& manifest, ChunkStore& store,
                                          Progress& progress, const Pace& pace) {
    Verification verification(store);
    for (std::size_t i = 0; i < manifest.chunks.size(); ++i) {
        if (progress.cancel) {
            GOLDLINK_TRY(verification.settle());
            return failure(ErrorKind::cancelled, "the verification was cancelled");
        }
        if (!is_zero(manifest.chunks[i])) {
            if (pace) pace(kChunkBytes);
            GOLDLINK_TRY(verification.look_at(manifest.chunks[i]));
        }
        if (i % kChunksATime == kChunksATime - 1) GOLDLINK_TRY(verification.settle());
        progress.done_bytes += std::min(kChunkBytes, manifest.size_bytes - i * kChunkBytes);
    }
    GOLDLINK_TRY(verification.settle());
    return std::move(verification).bad();
}

void add_uses(std::map<Digest, VerifyFinding>& findings, const std::string& version_digest,
              const Manifest& manifest) {
    for (std::size_t i = 0; i < manifest.chunks.size(); ++i) {
        if (is_zero(manifest.chunks[i])) continue;
        const auto found = findings.find(manifest.chunks[i]);
        if (found == findings.end() || found->second.uses.size() >= kMaxUsesReported) continue;
        found->second.uses.push_back({version_digest, i * kChunkBytes});
    }
}

}  // namespace goldlink::store
