// What a request of OverlayDisk needs while storage is waited for. Included by its .cpp files
// alone.
#pragma once

#include <array>

#include "target/disk/overlay_disk.hpp"

namespace goldlink::disk {

struct OverlayDisk::Transfer {
    reactor::IoOperation operation;
    PendingRequest* pending = nullptr;
    Piece piece;
    std::vector<iovec> vectors;      // what is still to be moved
    std::vector<BlockWrite> blocks;  // of a write: to be recorded when it is done
    std::uint64_t left_bytes = 0;
    unsigned retries = 0;
    Outcome outcome = Outcome::ok;
};

struct OverlayDisk::PendingRequest {
    enum class Phase : std::uint8_t { check, read, load_edges, write };

    OverlayDisk* disk = nullptr;
    Request* request = nullptr;
    std::uint64_t first_block = 0, last_block = 0;
    bool mutates = false;
    Phase phase = Phase::read;
    Outcome outcome = Outcome::ok;
    std::vector<std::unique_ptr<Transfer>> transfers;  // the first `used` are this request's
    std::size_t used = 0;
    std::size_t running = 0;
    std::array<std::uint8_t, 2 * kBlockBytes> edges{};
    std::vector<std::uint8_t> checked;  // the request's blocks that are to be compared, in place
};

// Lives apart from the disk: a flush that nobody waits for may still be in the kernel when the disk
// is closed; then this keeps the overlay's descriptors open until it is done.
struct OverlayDisk::SyncOperation {
    reactor::IoOperation operation;
    OverlayDisk* disk = nullptr;  // null: the disk is gone
    AfterSync then = nullptr;
    std::unique_ptr<Overlay> orphan;

    static void complete(reactor::IoOperation& operation) noexcept {
        auto* self = static_cast<SyncOperation*>(operation.owner);
        if (self->disk == nullptr) {
            delete self;
            return;
        }
        (self->disk->*self->then)(operation.result >= 0);
    }
};

struct BlockRange {
    std::uint64_t first, last;
};
inline BlockRange blocks_of(const Request& request) {
    return {request.offset_bytes / kBlockBytes,
            (request.offset_bytes + request.length_bytes - 1) / kBlockBytes};
}
inline bool mutates(const Request& request) { return request.operation != Operation::read; }

}  // namespace goldlink::disk
