// ImageStore: versions, chunks and packs under one folder; see ARCHITECTURE.md for the formats.
//
// Threads: open_version, list and the metadata calls may come from any thread; import, verify and
// remove block for long and run on task threads. A Version is immutable and shared by pointer to
// const; reading chunk data is done by disk::VersionDisk on its reactor.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/bytes.hpp"
#include "common/file.hpp"
#include "common/manifest.hpp"
#include "common/result.hpp"

namespace goldlink::store {

class SpaceAccount;
class ArrivingDisk;
class SpaceClaim;
class Storage;
Storage& posix_storage();

using goldlink::kChunkBytes;

// Of blank versions: the list of chunks, zero or not, takes 32 bytes each in memory while it is
// made.
inline constexpr std::uint64_t kMaxBlankBytes = 2ull << 40;

// Where a chunk lives: pack in the high 32 bits, slot in the low 32. With the highest bit set there
// is nothing to be read there: kZeroChunk is all zero, any other is bad: what its slot holds is not
// what it should be, or nobody knows where it is (kLostChunk).
using ChunkLocation = std::uint64_t;
inline constexpr ChunkLocation kBadChunkBit = ChunkLocation{1} << 63;
inline constexpr ChunkLocation kZeroChunk = ~ChunkLocation{0};
inline constexpr ChunkLocation kLostChunk = kZeroChunk - 1;

constexpr bool is_stored(ChunkLocation location) { return (location & kBadChunkBit) == 0; }
constexpr bool is_bad(ChunkLocation location) {
    return !is_stored(location) && location != kZeroChunk;
}

// An open version: the flat array chunk -> location. Its packs stay open while it lives. Which
// chunks are bad changes while it is open; what location() says holds for the read that follows.
class Version {
  public:
    virtual ~Version() = default;
    virtual const std::string& digest() const = 0;  // 64 hex digits: SHA-256 of the manifest
    virtual std::uint64_t size_bytes() const = 0;
    virtual ChunkLocation location(std::uint64_t chunk_index) const = 0;
    virtual int pack_fd(ChunkLocation location) const = 0;  // of a stored chunk; opened O_RDONLY
    // The chunk at `location` (a stored one) when it is in locked memory, where it stays as it is
    // while this version is open; else null. Notes that `bytes` of it are read. Any thread.
    virtual const std::uint8_t* resident(ChunkLocation location,
                                         std::uint32_t bytes) const noexcept;
    static std::uint64_t slot_offset_bytes(ChunkLocation location);
};

struct VersionInfo {
    std::string digest;
    std::uint64_t size_bytes = 0;    // as the client sees the disk
    std::uint64_t stored_bytes = 0;  // chunks that are not zero, before sharing
    std::uint64_t unique_bytes = 0;  // chunks this version alone refers to
    std::uint64_t bad_bytes = 0;     // of the disk that cannot be served
    std::int64_t verified_at = 0;    // Unix time of the last whole verification; 0: never
    std::string damage;              // what is wrong with it, for an admin; "": nothing known
};

// What an import reports while it runs and may be asked to stop; written by its thread, read by
// any.
struct Progress {
    std::atomic<std::uint64_t> done_bytes{0};
    std::atomic<std::uint64_t> total_bytes{0};  // 0 until known
    std::atomic<bool> cancel{false};
    // The space that what its thread writes beside the store comes out of; null: nobody counts.
    SpaceClaim* space = nullptr;
};

// Called before that many bytes are read; may wait, so that reading is no faster than is wanted.
using Pace = std::function<void(std::uint64_t bytes)>;

struct ImportRequest {
    std::filesystem::path file;
    // "raw", "vhd", "vhdx", "vmdk", "qcow2" or "" to detect; "iso": raw bytes that must be those of
    // an ISO 9660 or UDF disc.
    std::string format;
    // The only other files an import may open: a parent, a backing file, the extents of a split
    // VMDK. Found by their names, never by a path that stands in an image.
    std::vector<std::filesystem::path> companions{};
    bool beside = false;  // files in the folder of `file` count as companions too
    // What has been stored of the file while it came (arriving_disk.hpp), or null.
    ArrivingDisk* arriving = nullptr;
};

// Why a chunk cannot be served. The numbers are those of the index's table.
enum class BadReason : std::uint32_t {
    corrupt = 1,       // its bytes do not match its digest
    unreadable = 2,    // the kernel could not read them (EIO)
    file_missing = 3,  // its pack file is gone
    file_short = 4,    // its pack file ends before it
    file_refused = 5,  // its pack file could not be opened
    lost = 6,          // the index does not say where it is
};
std::string_view to_string(BadReason reason);

struct VerifyFinding {  // a chunk that cannot be served
    std::string chunk_digest;
    BadReason reason = BadReason::corrupt;
    std::int64_t since = 0;  // Unix time
    struct Use {
        std::string version_digest;
        std::uint64_t offset_bytes;
    };
    std::vector<Use> uses;  // at most 100
};

// A version to keep in locked memory, and which of its chunks to read in first.
struct PinWish {
    std::string digest;
    std::vector<std::uint32_t> first_chunks;
};
struct PinnedVersion {
    std::string digest;
    std::uint64_t wanted_bytes = 0;  // of its chunks that are not zero
    std::uint64_t pinned_bytes = 0;  // of these, in locked memory for good
    std::string problem;             // why not all of them, for an admin; "": they are, or will be
};

struct StoreGarbage;
class VersionReader;
class VersionTransfer;
struct RepairResult {
    std::uint64_t bad_chunks = 0;     // of the version, before
    std::uint64_t mended_chunks = 0;  // that the file had
    bool manifest_mended = false;
};

class ImageStore {
  public:
    // Opens or creates. Refuses a folder in use by another process (flock) or of a later format.
    // `resident_budget_bytes`: of memory to lock for the chunks read most (resident_chunks.hpp).
    // `storage` and `space` outlive the store and what it opened; without `space` nothing is
    // refused before the disk is full.
    static Result<std::unique_ptr<ImageStore>> open(const std::filesystem::path& folder,
                                                    std::uint64_t resident_budget_bytes = 0,
                                                    Storage& storage = posix_storage(),
                                                    SpaceAccount* space = nullptr);
    virtual ~ImageStore() = default;

    // What keeps the store from being used or written to, and the way out; "": nothing.
    virtual std::string problem() const { return ""; }
    virtual Result<std::shared_ptr<const Version>> open_version(std::string_view digest) = 0;
    // Its chunks as checked bytes (version_reader.hpp); the store must outlive it.
    virtual Result<std::unique_ptr<const VersionReader>> read_version(std::string_view digest) = 0;
    // Between stores: a version's manifest, its chunks by digest (whole, one after the other), and
    // a version that comes in by what is missing of it (version_transfer.hpp).
    virtual Result<std::filesystem::path> manifest_file(std::string_view digest) const = 0;
    virtual Result<std::vector<std::uint8_t>> read_chunks(Bytes digests) = 0;
    // Unchecked, a few at a time.
    virtual Result<> pass_chunks(Bytes digests, const std::function<Result<>(Bytes)>& take) = 0;
    virtual Result<std::unique_ptr<VersionTransfer>> begin_transfer() = 0;
    // For a file that is to be imported when it is here; refused when the store has no space for
    // all of it.
    virtual Result<std::unique_ptr<ArrivingDisk>> begin_arrival(FileDescriptor fd,
                                                                std::uint64_t file_bytes) = 0;
    virtual Result<std::vector<VersionInfo>> list() const = 0;
    // Chunks, hashes and stores a disk image; the version is durable when it returns. Formats other
    // than raw are read through a sandboxed qemu-img child. An aborted or failed import leaves
    // nothing behind.
    virtual Result<VersionInfo> import(const ImportRequest& request, Progress& progress) = 0;
    // A version of zeroes alone, for an installer to fill: a manifest that names no chunk, of half
    // a MiB a GiB. Whole blocks of 512 bytes, at most kMaxBlankBytes.
    virtual Result<VersionInfo> make_blank(std::uint64_t size_bytes) = 0;
    // A larger disk of a version (grow.hpp): zeros follow, a GPT's backup moves to the new end.
    virtual Result<VersionInfo> grow(std::string_view digest, std::uint64_t size_bytes) = 0;
    // Writes a version as a raw or other disk image file, and returns that file's SHA-256.
    virtual Result<Digest> export_version(std::string_view digest,
                                          const std::filesystem::path& file,
                                          const std::string& format, Progress& progress) = 0;
    // Reads and hashes every chunk of a version. A chunk that cannot be served is bad from now on,
    // for every version that has it, until its bytes are found right again or are stored anew: by
    // repair(), or by any import or commit that contains them.
    virtual Result<std::vector<VerifyFinding>> verify(std::string_view digest, Progress& progress,
                                                      const Pace& pace = nullptr) = 0;
    // Mends what is bad of a version (verifying it first) from a disk image that has its chunks,
    // all or some. Makes no version. Its manifest, when that is lost, is made anew when the file is
    // what the version was made of.
    virtual Result<RepairResult> repair(std::string_view digest, const ImportRequest& request,
                                        Progress& progress) = 0;
    // Looks at every bad chunk again: a file may have come back.
    virtual Result<> recheck_bad_chunks(Progress& progress) = 0;
    // Changes, and was never 0, whenever what list() says of damage may have.
    virtual std::uint64_t damage_revision() const = 0;
    // Drops a version and the chunks nobody else refers to. conflict while it is open, and when it
    // was made, or made again, after what made_count() said.
    static constexpr std::uint64_t kWhenever = ~std::uint64_t{0};
    virtual Result<> remove(std::string_view digest, std::uint64_t made_until) = 0;
    Result<> remove(std::string_view digest) { return remove(digest, kWhenever); }
    // How often versions were made since the store was opened: whoever imports or commits what is
    // there already makes it again. made_at: the last time for this one; 0: not since.
    virtual std::uint64_t made_count() const = 0;
    virtual std::uint64_t made_at(std::string_view digest) const = 0;

    // What nothing needs (garbage.hpp), as it would be if the versions of `leaving` went, which
    // they do not. Blocks for long when these are large.
    virtual Result<StoreGarbage> garbage(const std::vector<std::string>& leaving) = 0;
    // Removes manifests, chunks and space of free slots that are left over, and notes in `went`
    // what it did, also when it fails half-way.
    virtual Result<> collect_left_overs(StoreGarbage& went, Progress& progress) = 0;
    // Removes packs at the end that hold no chunk; none while somebody writes.
    virtual Result<> drop_empty_packs(StoreGarbage& went) = 0;
    // A new version from `base` with the given overlay's blocks (link commit): reads each changed
    // chunk through `read` (offset, 64 KiB buffer), called for chunks named in `changed_chunks`.
    virtual Result<VersionInfo> commit(
        std::string_view base_digest, const std::vector<std::uint64_t>& changed_chunks,
        const std::function<Result<>(std::uint64_t offset_bytes, std::uint8_t* chunk)>& read,
        Progress& progress) = 0;

    virtual std::uint64_t free_bytes() const = 0;  // of the filesystem
    // Pins these versions alone (pinned_versions.hpp); waits for the disk. By one at a time.
    virtual Result<> pin(const std::vector<PinWish>& wishes, Progress& progress) = 0;
    virtual std::vector<PinnedVersion> pinned() const = 0;
    virtual std::uint64_t resident_bytes() const = 0;  // of chunks in locked memory
    virtual std::uint64_t pinned_bytes() const = 0;    // of these, for good
};

}  // namespace goldlink::store
