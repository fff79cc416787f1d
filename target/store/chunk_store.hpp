// ChunkStore: packs and index together: where new chunks go, when unused ones leave, and how a
// store that was killed while being written to is put in order.
//
// Rules that keep it whole:
// - A chunk's data is synced before the index names it; the index forgets it before its slot is
//   punched or taken again.
// - A chunk no version refers to is an orphan. Orphans leave when nobody writes (a writer may be
//   about to refer to one), at the latest at the next open.
// - meta.unclean is set while anybody writes. A store opened with it set gets its free slots
//   counted anew from the chunks, and the space of the free ones given back.
// - A store that must not be written to (its index is older than what is there) is only read: its
//   packs and index stay as they are, but for what is found bad.
// - A pack that is missing, cut short or cannot be opened keeps nothing else from being served: its
//   chunks are bad, and said to be so before anybody may make the file anew or extend it.
// Threads: any.
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <set>

#include "target/store/bad_chunks.hpp"
#include "target/store/chunk_index.hpp"
#include "target/store/packs.hpp"

namespace goldlink::store {

class ChunkStore {
  public:
    // index/ in `folder` is LMDB's, whose files it keeps itself; packs/ are reached by `storage`.
    // With a `refusal` every writer gets that.
    static Result<std::unique_ptr<ChunkStore>> open(const std::filesystem::path& folder,
                                                    std::unique_ptr<ChunkIndex> index,
                                                    std::uint64_t resident_budget_bytes,
                                                    Storage& storage,
                                                    std::optional<Error> refusal = std::nullopt);
    // Why nothing is written to it; nullopt: it is.
    const std::optional<Error>& refusal() const { return refusal_; }

    Packs& packs() { return packs_; }
    ChunkIndex& index() { return *index_; }
    Storage& storage() { return storage_; }
    BadChunks& bad_chunks() { return bad_chunks_; }

    // Held by whoever adds chunks or drops versions. The last one to leave sweeps the orphans.
    class Writing {
      public:
        Writing(Writing&& other) noexcept : store_(std::exchange(other.store_, nullptr)) {}
        Writing& operator=(Writing&&) = delete;
        ~Writing();

      private:
        friend class ChunkStore;
        explicit Writing(ChunkStore& store) : store_(&store) {}
        ChunkStore* store_;
    };
    Result<Writing> begin_writing();

    std::uint64_t take_slot();
    // Slots that were taken and are named by no chunk of the index, nor ever were.
    void give_back(const std::vector<std::uint64_t>& slots);
    std::uint64_t next_slot() const;  // above every slot in use

    // What is left over (chunk_store_space.cpp); each while others read and write.
    // Chunks no version refers to, of which nobody is about to make one: a sweep that failed.
    Result<std::uint64_t> left_orphans();
    Result<std::uint64_t> sweep_orphans();
    // Space that free slots still take: it could not be given back when they became free, or the
    // packs were copied by somebody who fills holes. Returns bytes.
    Result<std::uint64_t> space_of_free_slots();
    // Gives it back, a few slots at a time, and adds to progress.done_bytes.
    Result<std::uint64_t> punch_free_slots(Progress& progress);
    // Packs at the end that would hold no chunk if the slots of `leaving` were free too.
    Result<std::vector<LeftFile>> empty_packs(const std::vector<bool>& leaving);
    // Removes those that hold none, unless somebody writes: he may be about to fill them.
    Result<std::vector<LeftFile>> drop_empty_packs();

  private:
    ChunkStore(Storage& storage, std::filesystem::path folder, std::uint64_t resident_budget_bytes,
               std::unique_ptr<ChunkIndex> index, std::optional<Error> refusal)
        : storage_(storage),
          packs_(storage, std::move(folder), resident_budget_bytes),
          index_(std::move(index)),
          bad_chunks_(*index_, packs_),
          refusal_(std::move(refusal)) {}

    Result<> load();
    Result<> recover();
    Result<> check_packs();
    Result<> sweep();
    Result<> sweep_some(bool& more);
    Result<> end_writing();
    struct FreeRun {
        std::uint64_t first = 0, count = 0;  // 0: there are no more
        std::uint64_t taken_bytes = 0;
    };
    Result<FreeRun> free_run(std::uint64_t from, bool hold);
    void let_go(const FreeRun& run);

    Storage& storage_;
    Packs packs_;
    std::unique_ptr<ChunkIndex> index_;
    BadChunks bad_chunks_;
    const std::optional<Error> refusal_;

    std::mutex writers_mutex_;  // held during a sweep: nobody starts writing meanwhile
    unsigned writers_ = 0;

    mutable std::mutex slots_mutex_;
    std::set<std::uint64_t> free_slots_;
    std::vector<std::uint64_t> given_back_;  // of which the index's free table may not know
    std::uint64_t next_slot_ = 0;
};

}  // namespace goldlink::store
