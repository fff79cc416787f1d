// ArrivingDisk: a raw disk image file that is stored and hashed while it is still being written, so
// that its import finds the work done. Threads of its own follow what has arrived. What was stored
// is kept, as orphans that nobody sweeps, while this object lives.
//
// It is help and no more: whoever gets an error from it imports the file as if it had not been.
// Threads: any; each call but arrived() and is_of() may block.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "common/file.hpp"
#include "target/store/chunk_writer.hpp"
#include "target/store/image_store.hpp"

namespace goldlink::store {

class ArrivingDisk {
  public:
    // `fd` is read from offset 0; the file will have `file_bytes`.
    ArrivingDisk(FileDescriptor fd, std::uint64_t file_bytes, std::unique_ptr<ChunkWriter> writer);
    ~ArrivingDisk();
    Result<> start();  // its threads; once

    // That many of its first bytes are there, and stay as they are; holes are zeros.
    void arrived(std::uint64_t bytes);
    // Whether this is the file, with all its bytes.
    bool is_of(int fd) const;

    // Both wait until the file has been gone through, of which `progress` hears; cancelled when it
    // asks for that.
    Result<Digest> sha256(Progress& progress);
    Result<const Manifest*> manifest(Progress& progress);
    ChunkWriter& writer() { return *writer_; }  // that has its chunks, once the manifest is there

  private:
    Result<> await(std::uint64_t bytes);
    Result<Digest> hash();
    template <typename T>
    Result<const T*> wait_for(const std::optional<Result<T>>& made, Progress& progress);

    const FileDescriptor fd_;
    const std::uint64_t file_bytes_;
    const std::unique_ptr<ChunkWriter> writer_;
    Progress progress_;  // of storing

    std::mutex mutex_;  // guards what follows
    std::condition_variable changed_;
    std::uint64_t arrived_bytes_ = 0;
    bool given_up_ = false;
    std::optional<Result<Digest>> sha256_;
    std::optional<Result<Manifest>> manifest_;

    std::thread hashing_, storing_;
};

}  // namespace goldlink::store
