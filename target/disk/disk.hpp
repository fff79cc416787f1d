// Disk: the seam between SCSI and what stores blocks (overlay over version, blank, fault injector).
//
// Thread: every call and every completion of one Disk happens on the reactor that owns it.
// A DiskRequest belongs to its submitter and must stay in place until it completes; the data it
// points at likewise. Requests in flight may complete in any order; the submitter keeps apart
// those that must not pass each other.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace goldlink::disk {

enum class Operation : std::uint8_t {
    read,          // fills data
    write,         // stores data; fua makes it durable as flush does
    unmap,         // the range reads as zero afterwards; gives its space back
    write_zeroes,  // like unmap, but a promise that it reads as zero (they are the same for us)
    flush,         // what was acknowledged is durable by the policy's rules; range ignored
};

enum class Outcome : std::uint8_t {
    ok,
    medium_error,  // unreadable or corrupt chunk: sense 03/11/00
    write_failed,  // the overlay's storage refused: sense 03/0C/00
    out_of_space,  // quota or reserve reached: sense 07/27/07
    out_of_range,  // past the end: sense 05/21/00
    gone,          // the disk was closed under the request: sense 02/04/00
};

// A run of bytes that a disk lends instead of filling the reader's buffer.
struct LentRun {
    const std::uint8_t* data = nullptr;
    std::uint32_t length_bytes = 0;
};

struct Request {
    static constexpr std::size_t kMaxLentRuns = 8;

    Operation operation = Operation::read;
    bool fua = false;
    // Of a write of at most Geometry::max_atomic_bytes: all of it is done or nothing, for every
    // reader, when it fails, and after the process or the power is gone.
    bool atomic = false;
    // A read whose reader is content with memory of the disk: it does not change, and stays until
    // the disk is closed; sockets may refer to its pages while the session lasts. If the disk
    // lends, then all of the range, in order, and fills no data.
    bool may_lend = false;
    std::uint8_t lent_count = 0;
    Outcome outcome = Outcome::ok;
    std::uint64_t offset_bytes = 0;  // multiple of 512
    std::uint64_t length_bytes = 0;  // multiple of 512; data has this many bytes for read and write
    std::uint8_t* data = nullptr;
    // Called once when submit() returned pending, with outcome set. Never called inline.
    void (*complete)(Request& request) noexcept = nullptr;
    void* owner = nullptr;                   // the submitter's, untouched by the disk
    Request* next = nullptr;                 // the disk's, while pending
    std::uint64_t scratch[4] = {};           // the disk's, while pending
    std::array<LentRun, kMaxLentRuns> lent;  // the first lent_count
};

enum class Submit : bool {
    pending = false,  // complete will be called later
    done = true,      // finished inline: outcome is set, complete will not be called
};

struct Geometry {
    std::uint64_t size_bytes = 0;             // multiple of 512
    std::uint32_t logical_block_bytes = 512;  // 512 or 4096; 2048 of a CD-ROM
    std::uint32_t physical_block_bytes = 4096;
    bool read_only = false;
    bool thin = true;                    // unmap gives space back; reads as zero (LBPRZ)
    std::uint32_t max_atomic_bytes = 0;  // 0: no atomic writes
};

// What GET LBA STATUS reports of a run of blocks.
struct Extent {
    std::uint64_t length_bytes = 0;
    bool mapped = true;
};

// Storage behind a thin disk.
struct ThinSpace {
    std::uint64_t used_bytes = 0;
    std::uint64_t available_bytes = 0;
};

class Disk {
  public:
    virtual ~Disk() = default;
    virtual const Geometry& geometry() const = 0;
    virtual Submit submit(Request& request) noexcept = 0;
    // The run that starts at offset_bytes, at most max_bytes long. Never touches storage.
    virtual Extent extent_at(std::uint64_t offset_bytes, std::uint64_t max_bytes) const = 0;
    // What is taken and may still be; none when the disk does not count. Never touches storage.
    virtual std::optional<ThinSpace> space() const { return std::nullopt; }
};

}  // namespace goldlink::disk
