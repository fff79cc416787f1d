#include "target/store/chunk_index.hpp"

#include <fmt/format.h>
#include <lmdb.h>

#include <cerrno>

#include "common/file.hpp"
#include "target/store/index_check.hpp"

namespace goldlink::store {

namespace {

// Address space, not disk: the file grows as it fills. Enough for some 600 million chunks (40 TiB).
constexpr std::size_t kMapBytes = std::size_t{64} << 30;
constexpr unsigned kMaxReaders = 256;

Failure lmdb_failure(const char* what, int code) {
    if (code == MDB_MAP_FULL)
        return failure(ErrorKind::exhausted,
                       fmt::format("{}: the store's index has reached its limit "
                                   "of {} GiB",
                                   what, kMapBytes >> 30));
    if (code == ENOSPC)
        return system_failure(fmt::format("{}: the filesystem of the image store is full", what),
                              code);
    if (code > 0) return system_failure(what, code);
    const bool corrupt = code == MDB_CORRUPTED || code == MDB_PAGE_NOTFOUND || code == MDB_INVALID;
    return failure(corrupt ? ErrorKind::corrupt : ErrorKind::io,
                   fmt::format("{}: {}", what, mdb_strerror(code)));
}

MDB_val value_of(Bytes bytes) { return {bytes.size(), const_cast<std::uint8_t*>(bytes.data())}; }
Bytes bytes_of(const MDB_val& value) {
    return {static_cast<const std::uint8_t*>(value.mv_data), value.mv_size};
}

std::array<std::uint8_t, 8> encode_u64(std::uint64_t value) {
    std::array<std::uint8_t, 8> bytes;
    store_le64(bytes.data(), value);
    return bytes;
}

Result<> put(MDB_txn* txn, unsigned table, Bytes key, Bytes data, const char* what) {
    MDB_val k = value_of(key), v = value_of(data);
    if (const int code = mdb_put(txn, table, &k, &v, 0); code != 0) return lmdb_failure(what, code);
    return {};
}

Result<std::optional<Bytes>> get(MDB_txn* txn, unsigned table, Bytes key, std::size_t length,
                                 const char* what) {
    MDB_val k = value_of(key), v{};
    const int code = mdb_get(txn, table, &k, &v);
    if (code == MDB_NOTFOUND) return std::optional<Bytes>();
    if (code != 0) return lmdb_failure(what, code);
    if (v.mv_size != length)
        return failure(ErrorKind::corrupt, fmt::format("{}: a record has a wrong length", what));
    return std::optional<Bytes>(bytes_of(v));
}

Result<> erase(MDB_txn* txn, unsigned table, Bytes key, const char* what) {
    MDB_val k = value_of(key);
    if (const int code = mdb_del(txn, table, &k, nullptr); code != 0 && code != MDB_NOTFOUND)
        return lmdb_failure(what, code);
    return {};
}

Result<> visit_all(MDB_txn* txn, unsigned table, const char* what,
                   const std::function<Result<bool>(Bytes key, Bytes data)>& visit) {
    MDB_cursor* cursor = nullptr;
    if (const int code = mdb_cursor_open(txn, table, &cursor); code != 0)
        return lmdb_failure(what, code);
    const std::unique_ptr<MDB_cursor, decltype(&mdb_cursor_close)> closer(cursor, mdb_cursor_close);
    MDB_val k{}, v{};
    int code = 0;
    while ((code = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0) {
        GOLDLINK_TRY_ASSIGN(const bool more, visit(bytes_of(k), bytes_of(v)));
        if (!more) return {};
    }
    if (code != MDB_NOTFOUND) return lmdb_failure(what, code);
    return {};
}

constexpr std::size_t kChunkRecordBytes = 16;
constexpr std::size_t kVersionRecordBytes = 32;
constexpr std::size_t kBadRecordBytes = 16;

ChunkRecord decode_chunk(Bytes bytes) {
    return {load_le64(bytes.data()), load_le32(bytes.data() + 8), load_le32(bytes.data() + 12)};
}
VersionRecord decode_version(Bytes bytes) {
    return {load_le32(bytes.data()), load_le64(bytes.data() + 8), load_le64(bytes.data() + 16),
            load_le64(bytes.data() + 24)};
}
BadRecord decode_bad(Bytes bytes) {
    return {static_cast<BadReason>(load_le32(bytes.data())),
            static_cast<std::int64_t>(load_le64(bytes.data() + 8))};
}
Result<Digest> decode_digest(Bytes bytes) {
    Digest digest;
    if (bytes.size() != digest.size())
        return failure(ErrorKind::corrupt, "the store's index holds a malformed digest");
    std::memcpy(digest.data(), bytes.data(), digest.size());
    return digest;
}

}  // namespace

Result<std::unique_ptr<ChunkIndex>> ChunkIndex::open(const std::filesystem::path& folder,
                                                     const Admission& admission) {
    std::unique_ptr<ChunkIndex> index(new ChunkIndex);
    const auto file = folder / "data.mdb";
    const std::string what = fmt::format("cannot open the store's index {}", folder.string());
    std::error_code error;
    const auto size = std::filesystem::file_size(file, error);
    const bool is_there = !error && size > 0;
    if (is_there && !index_is_as_closed(file)) GOLDLINK_TRY(check_index_file(file));
    GOLDLINK_TRY(make_directories(folder));
    if (const int code = mdb_env_create(&index->env_); code != 0)
        return lmdb_failure(what.c_str(), code);
    mdb_env_set_maxdbs(index->env_, 8);
    mdb_env_set_maxreaders(index->env_, kMaxReaders);
    mdb_env_set_mapsize(index->env_, kMapBytes);
    // NOTLS: a read transaction belongs to its object, not to its thread.
    if (const int code = mdb_env_open(index->env_, folder.c_str(), MDB_NOTLS | MDB_NORDAHEAD, 0644);
        code != 0)
        return lmdb_failure(what.c_str(), code);
    if (is_there && admission) GOLDLINK_TRY(index->admit(admission, what.c_str()));
    GOLDLINK_TRY(index->open_tables(what.c_str()));
    index->file_ = file;
    return index;
}

Result<> ChunkIndex::admit(const Admission& admission, const char* what) {
    GOLDLINK_TRY_ASSIGN(auto txn, begin_read());
    const auto open_table = [&](const char* name, unsigned* table) -> Result<bool> {
        const int code = mdb_dbi_open(txn.txn_, name, 0, table);
        if (code == MDB_NOTFOUND) return false;
        if (code != 0) return lmdb_failure(what, code);
        return true;
    };
    std::uint64_t id = 0;
    bool has_content = false;
    GOLDLINK_TRY_ASSIGN(const bool has_meta, open_table("meta", &meta_));
    if (has_meta) {
        GOLDLINK_TRY_ASSIGN(id, txn.meta(kStoreId));
        for (const std::string_view name : {kNextSlot, kNextVersion, kUnclean}) {
            GOLDLINK_TRY_ASSIGN(const std::uint64_t value, txn.meta(name));
            has_content = has_content || value != 0;
        }
    }
    return admission(id, has_content);
}

Result<> ChunkIndex::open_tables(const char* what) {
    MDB_txn* txn = nullptr;
    if (const int code = mdb_txn_begin(env_, nullptr, 0, &txn); code != 0)
        return lmdb_failure(what, code);
    const struct {
        const char* name;
        unsigned flags;
        unsigned* table;
    } tables[] = {
        {"chunks", 0, &chunks_},     {"orphans", 0, &orphans_}, {"free", MDB_INTEGERKEY, &free_},
        {"versions", 0, &versions_}, {"meta", 0, &meta_},       {"bad", 0, &bad_},
        {"verified", 0, &verified_}, {"pending", 0, &pending_}};
    for (const auto& table : tables) {
        if (const int code = mdb_dbi_open(txn, table.name, table.flags | MDB_CREATE, table.table);
            code != 0) {
            mdb_txn_abort(txn);
            return lmdb_failure(what, code);
        }
    }
    if (const int code = mdb_txn_commit(txn); code != 0) return lmdb_failure(what, code);
    return {};
}

ChunkIndex::~ChunkIndex() {
    if (env_ == nullptr) return;
    mdb_env_close(env_);
    if (!file_.empty()) note_index_closed(file_);
}

Result<ChunkIndex::Transaction> ChunkIndex::begin_read() const {
    MDB_txn* txn = nullptr;
    if (const int code = mdb_txn_begin(env_, nullptr, MDB_RDONLY, &txn); code != 0)
        return lmdb_failure("cannot read the store's index", code);
    return Transaction(*this, txn);
}

Result<ChunkIndex::Transaction> ChunkIndex::begin_write() {
    MDB_txn* txn = nullptr;
    if (const int code = mdb_txn_begin(env_, nullptr, 0, &txn); code != 0)
        return lmdb_failure("cannot change the store's index", code);
    return Transaction(*this, txn);
}

using Transaction = ChunkIndex::Transaction;

Transaction::Transaction(Transaction&& other) noexcept
    : index_(other.index_), txn_(std::exchange(other.txn_, nullptr)) {}

Transaction::~Transaction() {
    if (txn_ != nullptr) mdb_txn_abort(txn_);
}

Result<> Transaction::commit() {
    if (const int code = mdb_txn_commit(std::exchange(txn_, nullptr)); code != 0)
        return lmdb_failure("cannot commit to the store's index", code);
    return {};
}

Result<std::optional<ChunkRecord>> Transaction::chunk(const Digest& digest) const {
    GOLDLINK_TRY_ASSIGN(const auto found, get(txn_, index_->chunks_, Bytes(digest),
                                              kChunkRecordBytes, "cannot look up a chunk"));
    if (!found) return std::optional<ChunkRecord>();
    return std::optional(decode_chunk(*found));
}

Result<> Transaction::put_chunk(const Digest& digest, const ChunkRecord& record) {
    std::array<std::uint8_t, kChunkRecordBytes> bytes;
    store_le64(bytes.data(), record.slot);
    store_le32(bytes.data() + 8, record.version_count);
    store_le32(bytes.data() + 12, record.versions_xor);
    return put(txn_, index_->chunks_, Bytes(digest), Bytes(bytes), "cannot record a chunk");
}

Result<> Transaction::erase_chunk(const Digest& digest) {
    return erase(txn_, index_->chunks_, Bytes(digest), "cannot forget a chunk");
}

Result<> Transaction::for_each_chunk(
    const std::function<Result<>(const Digest&, const ChunkRecord&)>& visit) const {
    return visit_all(txn_, index_->chunks_, "cannot list chunks",
                     [&visit](Bytes key, Bytes data) -> Result<bool> {
                         GOLDLINK_TRY_ASSIGN(const Digest digest, decode_digest(key));
                         if (data.size() != kChunkRecordBytes)
                             return failure(ErrorKind::corrupt,
                                            "a chunk's record has a wrong length");
                         GOLDLINK_TRY(visit(digest, decode_chunk(data)));
                         return true;
                     });
}

Result<> Transaction::put_orphan(const Digest& digest) {
    return put(txn_, index_->orphans_, Bytes(digest), Bytes(), "cannot record a chunk");
}

Result<> Transaction::erase_orphan(const Digest& digest) {
    return erase(txn_, index_->orphans_, Bytes(digest), "cannot record a chunk's use");
}

Result<std::vector<Digest>> Transaction::orphans(std::size_t at_most) const {
    std::vector<Digest> found;
    GOLDLINK_TRY(visit_all(txn_, index_->orphans_, "cannot list unused chunks",
                           [&](Bytes key, Bytes) -> Result<bool> {
                               GOLDLINK_TRY_ASSIGN(const Digest digest, decode_digest(key));
                               found.push_back(digest);
                               return found.size() < at_most;
                           }));
    return found;
}

Result<std::uint64_t> Transaction::orphan_count() const {
    MDB_stat stat{};
    if (const int code = mdb_stat(txn_, index_->orphans_, &stat); code != 0)
        return lmdb_failure("cannot count unused chunks", code);
    return stat.ms_entries;
}

Result<> Transaction::put_free(std::uint64_t slot) {
    return put(txn_, index_->free_, Bytes(encode_u64(slot)), Bytes(), "cannot free a slot");
}

Result<> Transaction::erase_free(std::uint64_t slot) {
    return erase(txn_, index_->free_, Bytes(encode_u64(slot)), "cannot take a slot");
}

Result<> Transaction::clear_free() {
    if (const int code = mdb_drop(txn_, index_->free_, 0); code != 0)
        return lmdb_failure("cannot rebuild the list of free slots", code);
    return {};
}

Result<> Transaction::for_each_free(const std::function<void(std::uint64_t)>& visit) const {
    return visit_all(
        txn_, index_->free_, "cannot list free slots", [&visit](Bytes key, Bytes) -> Result<bool> {
            if (key.size() != 8)
                return failure(ErrorKind::corrupt, "a free slot's record is malformed");
            visit(load_le64(key.data()));
            return true;
        });
}

Result<std::optional<VersionRecord>> Transaction::version(const Digest& digest) const {
    GOLDLINK_TRY_ASSIGN(const auto found, get(txn_, index_->versions_, Bytes(digest),
                                              kVersionRecordBytes, "cannot look up a version"));
    if (!found) return std::optional<VersionRecord>();
    return std::optional(decode_version(*found));
}

Result<> Transaction::put_version(const Digest& digest, const VersionRecord& record) {
    std::array<std::uint8_t, kVersionRecordBytes> bytes{};
    store_le32(bytes.data(), record.number);
    store_le64(bytes.data() + 8, record.size_bytes);
    store_le64(bytes.data() + 16, record.stored_chunks);
    store_le64(bytes.data() + 24, record.unique_chunks);
    return put(txn_, index_->versions_, Bytes(digest), Bytes(bytes), "cannot record a version");
}

Result<> Transaction::erase_version(const Digest& digest) {
    return erase(txn_, index_->versions_, Bytes(digest), "cannot forget a version");
}

Result<std::vector<std::pair<Digest, VersionRecord>>> Transaction::versions() const {
    std::vector<std::pair<Digest, VersionRecord>> all;
    GOLDLINK_TRY(visit_all(txn_, index_->versions_, "cannot list versions",
                           [&all](Bytes key, Bytes data) -> Result<bool> {
                               GOLDLINK_TRY_ASSIGN(const Digest digest, decode_digest(key));
                               if (data.size() != kVersionRecordBytes)
                                   return failure(ErrorKind::corrupt,
                                                  "a version's record has a wrong length");
                               all.emplace_back(digest, decode_version(data));
                               return true;
                           }));
    return all;
}

Result<bool> Transaction::pending(const Digest& manifest) const {
    GOLDLINK_TRY_ASSIGN(const auto found, get(txn_, index_->pending_, Bytes(manifest), 0,
                                              "cannot look up a manifest"));
    return found.has_value();
}

Result<> Transaction::put_pending(const Digest& manifest) {
    return put(txn_, index_->pending_, Bytes(manifest), Bytes(), "cannot record a manifest");
}

Result<> Transaction::erase_pending(const Digest& manifest) {
    return erase(txn_, index_->pending_, Bytes(manifest), "cannot record a manifest");
}

Result<std::vector<Digest>> Transaction::all_pending() const {
    std::vector<Digest> all;
    GOLDLINK_TRY(visit_all(txn_, index_->pending_, "cannot list manifests",
                           [&all](Bytes key, Bytes) -> Result<bool> {
                               GOLDLINK_TRY_ASSIGN(const Digest digest, decode_digest(key));
                               all.push_back(digest);
                               return true;
                           }));
    return all;
}

Result<std::int64_t> Transaction::verified_at(const Digest& version) const {
    GOLDLINK_TRY_ASSIGN(const auto found, get(txn_, index_->verified_, Bytes(version), 8,
                                              "cannot look up a verification"));
    return found ? static_cast<std::int64_t>(load_le64(found->data())) : 0;
}

Result<> Transaction::put_verified(const Digest& version, std::int64_t when) {
    return put(txn_, index_->verified_, Bytes(version),
               Bytes(encode_u64(static_cast<std::uint64_t>(when))), "cannot record a verification");
}

Result<> Transaction::erase_verified(const Digest& version) {
    return erase(txn_, index_->verified_, Bytes(version), "cannot forget a verification");
}

Result<std::optional<BadRecord>> Transaction::bad(const Digest& digest) const {
    GOLDLINK_TRY_ASSIGN(const auto found, get(txn_, index_->bad_, Bytes(digest), kBadRecordBytes,
                                              "cannot look up a bad chunk"));
    if (!found) return std::optional<BadRecord>();
    return std::optional(decode_bad(*found));
}

Result<> Transaction::put_bad(const Digest& digest, const BadRecord& record) {
    std::array<std::uint8_t, kBadRecordBytes> bytes{};
    store_le32(bytes.data(), static_cast<std::uint32_t>(record.reason));
    store_le64(bytes.data() + 8, static_cast<std::uint64_t>(record.since));
    return put(txn_, index_->bad_, Bytes(digest), Bytes(bytes), "cannot record a bad chunk");
}

Result<> Transaction::erase_bad(const Digest& digest) {
    return erase(txn_, index_->bad_, Bytes(digest), "cannot record that a chunk is mended");
}

Result<std::vector<std::pair<Digest, BadRecord>>> Transaction::all_bad() const {
    std::vector<std::pair<Digest, BadRecord>> all;
    GOLDLINK_TRY(visit_all(txn_, index_->bad_, "cannot list bad chunks",
                           [&all](Bytes key, Bytes data) -> Result<bool> {
                               GOLDLINK_TRY_ASSIGN(const Digest digest, decode_digest(key));
                               if (data.size() != kBadRecordBytes)
                                   return failure(ErrorKind::corrupt,
                                                  "a bad chunk's record has a wrong length");
                               all.emplace_back(digest, decode_bad(data));
                               return true;
                           }));
    return all;
}

Result<std::uint64_t> Transaction::meta(std::string_view name) const {
    GOLDLINK_TRY_ASSIGN(const auto found, get(txn_, index_->meta_, as_bytes(name), 8,
                                              "cannot read the store's state"));
    return found ? load_le64(found->data()) : 0;
}

Result<> Transaction::put_meta(std::string_view name, std::uint64_t value) {
    return put(txn_, index_->meta_, as_bytes(name), Bytes(encode_u64(value)),
               "cannot record the store's state");
}

}  // namespace goldlink::store
