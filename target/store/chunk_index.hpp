// ChunkIndex: the store's LMDB environment (index/), which says what is where and who needs it.
// Crash safety is LMDB's own: a transaction is there whole or not at all.
//
// Tables, integers little endian:
//   chunks    digest (32)      -> slot u64, version count u32, xor of version numbers u32
//   orphans   digest (32)      -> nothing; chunks that no version refers to (yet)
//   free      slot u64         -> nothing; slots below meta.next_slot that hold no chunk
//   versions  digest (32)      -> number u32, zero u32, size u64, stored chunks u64, unique chunks
//             u64
//   meta      name             -> u64: next_slot, next_version, unclean, store_id, knows_pending
//   verified  digest (32)      -> Unix time i64: when the version was last read and hashed whole
//   bad       digest (32)      -> BadReason u32, zero u32, since (Unix time) i64
//   pending   digest (32)      -> nothing; manifests that are about to come or to go. A manifest
//             that is neither here nor in `versions` is one that this index knows nothing of.
//
// The xor of the numbers of the versions that use a chunk is, when there is just one, that
// version's number: so each version's count of chunks of its own stays exact without a scan.
// Threads: any; a Transaction stays on the thread that began it, one writes at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "common/digest.hpp"
#include "common/result.hpp"
#include "target/store/image_store.hpp"

struct MDB_env;
struct MDB_txn;

namespace goldlink::store {

struct ChunkRecord {
    std::uint64_t slot = 0;
    std::uint32_t version_count = 0;
    std::uint32_t versions_xor = 0;
};

struct VersionRecord {
    std::uint32_t number = 0;
    std::uint64_t size_bytes = 0;
    std::uint64_t stored_chunks = 0;
    std::uint64_t unique_chunks = 0;
};

struct BadRecord {
    BadReason reason = BadReason::corrupt;
    std::int64_t since = 0;
};

class ChunkIndex {
  public:
    class Transaction {
      public:
        Transaction(Transaction&& other) noexcept;
        Transaction& operator=(Transaction&&) = delete;
        ~Transaction();  // aborts what was not committed
        Result<> commit();

        Result<std::optional<ChunkRecord>> chunk(const Digest& digest) const;
        Result<> put_chunk(const Digest& digest, const ChunkRecord& record);
        Result<> erase_chunk(const Digest& digest);
        Result<> for_each_chunk(
            const std::function<Result<>(const Digest&, const ChunkRecord&)>& visit) const;

        Result<> put_orphan(const Digest& digest);
        Result<> erase_orphan(const Digest& digest);
        Result<std::vector<Digest>> orphans(std::size_t at_most) const;
        Result<std::uint64_t> orphan_count() const;

        Result<> put_free(std::uint64_t slot);
        Result<> erase_free(std::uint64_t slot);
        Result<> clear_free();
        Result<> for_each_free(const std::function<void(std::uint64_t slot)>& visit) const;

        Result<std::optional<VersionRecord>> version(const Digest& digest) const;
        Result<> put_version(const Digest& digest, const VersionRecord& record);
        Result<> erase_version(const Digest& digest);
        Result<std::vector<std::pair<Digest, VersionRecord>>> versions() const;

        Result<bool> pending(const Digest& manifest) const;
        Result<> put_pending(const Digest& manifest);
        Result<> erase_pending(const Digest& manifest);
        Result<std::vector<Digest>> all_pending() const;

        Result<std::int64_t> verified_at(const Digest& version) const;  // 0: never
        Result<> put_verified(const Digest& version, std::int64_t when);
        Result<> erase_verified(const Digest& version);

        Result<std::optional<BadRecord>> bad(const Digest& digest) const;
        Result<> put_bad(const Digest& digest, const BadRecord& record);
        Result<> erase_bad(const Digest& digest);
        Result<std::vector<std::pair<Digest, BadRecord>>> all_bad() const;

        Result<std::uint64_t> meta(std::string_view name) const;  // 0 when never set
        Result<> put_meta(std::string_view name, std::uint64_t value);

      private:
        friend class ChunkIndex;
        Transaction(const ChunkIndex& index, MDB_txn* txn) : index_(&index), txn_(txn) {}

        const ChunkIndex* index_;
        MDB_txn* txn_;
    };

    static constexpr std::string_view kNextSlot = "next_slot";
    static constexpr std::string_view kNextVersion = "next_version";
    static constexpr std::string_view kUnclean = "unclean";
    // Says whose index it is: the store's folder has the same in its file `id`.
    static constexpr std::string_view kStoreId = "store_id";
    // 1: every manifest since has been in `pending` or `versions` all its life.
    static constexpr std::string_view kKnowsPending = "knows_pending";

    // Asked of a file that is there, before anything of it is changed: an error refuses it.
    using Admission = std::function<Result<>(std::uint64_t store_id, bool has_content)>;
    // Opens or creates. A file that LMDB could not read without harm is refused (index_check.hpp).
    static Result<std::unique_ptr<ChunkIndex>> open(const std::filesystem::path& folder,
                                                    const Admission& admit = nullptr);
    ~ChunkIndex();

    Result<Transaction> begin_read() const;
    Result<Transaction> begin_write();

  private:
    ChunkIndex() = default;
    Result<> admit(const Admission& admission, const char* what);
    Result<> open_tables(const char* what);

    std::filesystem::path file_;
    MDB_env* env_ = nullptr;
    unsigned chunks_ = 0, orphans_ = 0, free_ = 0, versions_ = 0, meta_ = 0, bad_ = 0,
             verified_ = 0, pending_ = 0;
};

}  // namespace goldlink::store
