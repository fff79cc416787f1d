// DeltaFile: where a version is written over what an older export has left of it. A regular file is
// replaced as a whole by one that grows beside it (FILE.part: a reflink of the old one where the
// filesystem can, else what is taken over is copied) and takes its name when it is complete; a part
// that a broken run left is gone on with. A block device is written in place. One thread, beside
// one that reads base_fd().
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/file.hpp"
#include "common/manifest.hpp"
#include "common/result.hpp"

namespace goldlink::cli {

class DeltaFile {
  public:
    // For a disk of this size. `surely_raw`: the file is taken for a raw disk whatever its magic.
    // `is_new`: one that is there by then is not replaced.
    static Result<DeltaFile> open(const std::string& path, std::uint64_t disk_bytes,
                                  bool surely_raw, bool is_new);
    DeltaFile(DeltaFile&&) noexcept = default;
    DeltaFile& operator=(DeltaFile&&) = delete;
    ~DeltaFile();  // removes an unfinished part unless it is kept

    // What there is to begin with, compared chunk by chunk: -1 and no bytes when there is nothing.
    int base_fd() const;
    std::uint64_t base_bytes() const { return base_bytes_; }
    // Whether the base is what is written to: a chunk that is right in it needs nothing.
    bool base_is_result() const { return base_is_result_; }

    // A chunk of kChunkBytes; what lies past the disk's end is left out.
    Result<> put(std::uint64_t chunk, Bytes bytes);
    Result<> put_zeros(std::uint64_t chunk);
    // When the base is a part that was left: whether the old file has the chunk. It is then put.
    Result<bool> put_from_old(std::uint64_t chunk, const Digest& digest);
    // Makes it durable, and the file itself.
    Result<> finish();
    // Lets an unfinished part stay. Returns what to tell of it.
    std::string keep();

  private:
    DeltaFile() = default;
    Result<> open_device();
    Result<> open_part(bool surely_raw);
    Result<> take_part();

    std::string path_, part_;  // part_ "": in place
    FileDescriptor old_, result_;
    std::uint64_t disk_bytes_ = 0, old_bytes_ = 0, base_bytes_ = 0;
    bool base_is_result_ = false, resumed_ = false, finished_ = false, is_new_ = false;
    std::vector<std::uint8_t> buffer_;
};

}  // namespace goldlink::cli
