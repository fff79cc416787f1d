// SourceFile: a regular file on its way to a server: read in order, from any byte on again after a
// broken connection, and hashed once as it passes. One thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "common/file.hpp"
#include "common/result.hpp"
#include "common/source_guard.hpp"

struct evp_md_ctx_st;

namespace goldlink::cli {

class SourceFile {
  public:
    // Refuses a file that another program writes to.
    static Result<SourceFile> open(const std::string& path);
    SourceFile(SourceFile&&) noexcept = default;
    SourceFile& operator=(SourceFile&&) = delete;

    const std::string& path() const { return path_; }
    std::string name() const;  // its last part
    std::uint64_t size() const { return size_; }
    std::uint64_t offset() const { return offset_; }

    // Fills the buffer from offset(); 0 at the end. A file that became shorter is an error.
    Result<std::size_t> read(char* buffer, std::size_t size);
    void seek(std::uint64_t offset_bytes) { offset_ = offset_bytes; }
    // Refuses what no import could take, with the format that it is said to have ("" to detect).
    Result<> check_importable(std::string_view format) const;
    // "qcow2", "vhdx", "vmdk", "gzip", "zip" ... by its magic, "" for a raw disk.
    Result<std::string> format() const;
    // Refuses a file that was written to since it was opened.
    Result<> check_unchanged() const { return guard_->check(); }
    // SHA-256 of the whole file in hex; reads what has not passed yet.
    Result<std::string> sha256();

  private:
    struct FreeHash {
        void operator()(evp_md_ctx_st* context) const;
    };
    SourceFile() = default;

    FileDescriptor fd_;
    std::string path_;
    std::optional<SourceGuard> guard_;
    std::uint64_t size_ = 0, offset_ = 0, hashed_ = 0;
    std::unique_ptr<evp_md_ctx_st, FreeHash> hash_;
};

}  // namespace goldlink::cli
