#include "target/store/raw_export.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <functional>

#include "common/check.hpp"
#include "common/file.hpp"
#include "target/store/image_convert.hpp"
#include "target/store/space_account.hpp"
#include "target/store/spool_file.hpp"

namespace goldlink::store {

namespace {

constexpr std::size_t kLookEveryChunks = 256;  // whether the disk has what must stay free

// Each chunk that is not zero, checked, in order; `put` gets its bytes within the disk.
Result<> read_chunks(const Manifest& manifest, ChunkStore& store, Progress& progress,
                     const std::function<Result<>(std::uint64_t offset, Bytes bytes)>& put) {
    std::vector<std::uint8_t> chunk(kChunkBytes);
    Hasher hasher;
    for (std::size_t i = 0; i < manifest.chunks.size(); ++i) {
        if (progress.cancel) return failure(ErrorKind::cancelled, "the export was cancelled");
        const std::uint64_t offset = i * kChunkBytes;
        const std::uint64_t length = std::min(kChunkBytes, manifest.size_bytes - offset);
        progress.done_bytes += length;
        if (is_zero(manifest.chunks[i])) continue;
        if (progress.space != nullptr && i % kLookEveryChunks == 0)
            GOLDLINK_TRY(progress.space->check());
        std::optional<ChunkRecord> record;
        {
            GOLDLINK_TRY_ASSIGN(const auto txn, store.index().begin_read());
            GOLDLINK_TRY_ASSIGN(record, txn.chunk(manifest.chunks[i]));
        }
        if (!record)
            return failure(ErrorKind::corrupt, fmt::format("chunk {} is missing from the store",
                                                           to_hex(manifest.chunks[i])));
        GOLDLINK_TRY(store.packs().read(record->slot, chunk.data()));
        if (hasher.hash(chunk) != manifest.chunks[i])
            return failure(ErrorKind::corrupt,
                           fmt::format("the chunk at byte {} of the disk is corrupt in the store; "
                                       "verify the version and import the image again",
                                       offset));
        GOLDLINK_TRY(put(offset, Bytes(chunk).first(length)));
    }
    return {};
}

Bytes zeros() {
    static const std::vector<std::uint8_t> all(kChunkBytes);
    return all;
}

// SHA-256 of a file that is written in order, with holes.
class SparseHash {
  public:
    SparseHash() { hasher_.start(); }
    void add(std::uint64_t offset, Bytes bytes) {
        for (; at_ < offset; at_ += std::min(kChunkBytes, offset - at_))
            hasher_.add(
                zeros().first(static_cast<std::size_t>(std::min(kChunkBytes, offset - at_))));
        hasher_.add(bytes);
        at_ += bytes.size();
    }
    Digest finish(std::uint64_t length) {
        add(length, {});
        return hasher_.finish();
    }

  private:
    Hasher hasher_;
    std::uint64_t at_ = 0;
};

// `hash` may be null.
Result<> write_raw(const Manifest& manifest, ChunkStore& store, int fd, const std::string& name,
                   Progress& progress, SparseHash* hash) {
    if (::ftruncate(fd, static_cast<off_t>(manifest.size_bytes)) != 0)
        return system_failure(fmt::format("cannot size {}", name));
    const auto put = [&](std::uint64_t offset, Bytes bytes) -> Result<> {
        if (hash != nullptr) {
            hash->add(offset, bytes);
            if (progress.space != nullptr) GOLDLINK_TRY(progress.space->spend(bytes.size()));
        }
        return write_at(fd, bytes, offset, name);
    };
    GOLDLINK_TRY(read_chunks(manifest, store, progress, put));
    if (::fsync(fd) != 0) return system_failure(fmt::format("cannot sync {}", name));
    return {};
}

// One zstd frame that says its length and ends with a checksum (RFC 8878 3.1.1).
class ZstdFile {
  public:
    ZstdFile(int fd, const std::string& name, std::uint64_t length)
        : fd_(fd), name_(name), stream_(ZSTD_createCCtx()), out_(ZSTD_CStreamOutSize()) {
        CHECK(stream_ != nullptr, "memory for a zstd stream");
        hasher_.start();
        ZSTD_CCtx_setParameter(stream_.get(), ZSTD_c_checksumFlag, 1);
        ZSTD_CCtx_setPledgedSrcSize(stream_.get(), length);
    }

    // What lies between the last bytes and these is zeros.
    Result<> put(std::uint64_t offset, Bytes bytes) {
        while (at_ < offset)
            GOLDLINK_TRY(
                feed(zeros().first(static_cast<std::size_t>(std::min(kChunkBytes, offset - at_))),
                     ZSTD_e_continue));
        return feed(bytes, ZSTD_e_continue);
    }
    Result<Digest> finish(std::uint64_t length) {
        GOLDLINK_TRY(put(length, {}));
        GOLDLINK_TRY(feed({}, ZSTD_e_end));
        if (::fsync(fd_) != 0) return system_failure(fmt::format("cannot sync {}", name_));
        return hasher_.finish();
    }

  private:
    Result<> feed(Bytes bytes, ZSTD_EndDirective directive) {
        ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
        for (bool more = true; more;) {
            ZSTD_outBuffer out{out_.data(), out_.size(), 0};
            const std::size_t left = ZSTD_compressStream2(stream_.get(), &out, &in, directive);
            if (ZSTD_isError(left) != 0)
                return failure(ErrorKind::io, fmt::format("cannot compress {}: {}", name_,
                                                          ZSTD_getErrorName(left)));
            GOLDLINK_TRY(write_at(fd_, Bytes(out_).first(out.pos), written_, name_));
            hasher_.add(Bytes(out_).first(out.pos));
            written_ += out.pos;
            more = directive == ZSTD_e_end ? left != 0 : in.pos < in.size;
        }
        at_ += bytes.size();
        return {};
    }

    struct Free {
        void operator()(ZSTD_CCtx* stream) const { ZSTD_freeCCtx(stream); }
    };
    const int fd_;
    const std::string& name_;
    const std::unique_ptr<ZSTD_CCtx, Free> stream_;
    std::vector<std::uint8_t> out_;
    Hasher hasher_;
    std::uint64_t at_ = 0, written_ = 0;
};

Result<Digest> write_zstd(const Manifest& manifest, ChunkStore& store, int fd,
                          const std::string& name, Progress& progress) {
    ZstdFile file(fd, name, manifest.size_bytes);
    GOLDLINK_TRY(read_chunks(
        manifest, store, progress,
        [&](std::uint64_t offset, Bytes bytes) -> Result<> { return file.put(offset, bytes); }));
    return file.finish(manifest.size_bytes);
}

// Of a file that another program wrote.
Result<Digest> hash_file(int fd, const std::string& name, Progress& progress) {
    std::vector<std::uint8_t> buffer(1 << 20);
    Hasher hasher;
    hasher.start();
    for (std::uint64_t at = 0;;) {
        if (progress.cancel) return failure(ErrorKind::cancelled, "the export was cancelled");
        GOLDLINK_TRY_ASSIGN(const std::size_t n, read_at(fd, buffer, at, name));
        if (n == 0) return hasher.finish();
        hasher.add(Bytes(buffer).first(n));
        at += n;
    }
}

}  // namespace

Result<Digest> export_manifest(const Manifest& manifest, ChunkStore& store,
                               const std::filesystem::path& file, const std::string& format,
                               const std::filesystem::path& spool, Progress& progress) {
    if (std::find(std::begin(kExportFormats), std::end(kExportFormats), format) ==
        std::end(kExportFormats))
        return failure(ErrorKind::invalid,
                       fmt::format("\"{}\" is no format to export: it is {}; an ISO image is "
                                   "exported as raw, its bytes as they are",
                                   format, fmt::join(kExportFormats, ", ")));
    FileDescriptor fd(::open(file.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (!fd) {
        if (errno == EEXIST)
            return failure(ErrorKind::conflict,
                           fmt::format("{} exists already; export to a new file", file.string()));
        return system_failure(fmt::format("cannot create {}", file.string()));
    }
    SpoolFile unfinished(file);  // removes it unless kept
    Digest digest{};
    if (format == "raw") {
        progress.total_bytes = manifest.size_bytes;
        SparseHash hash;
        GOLDLINK_TRY(write_raw(manifest, store, fd.get(), file.string(), progress, &hash));
        digest = hash.finish(manifest.size_bytes);
    } else if (format == "raw.zst") {
        progress.total_bytes = manifest.size_bytes;
        GOLDLINK_TRY_ASSIGN(digest, write_zstd(manifest, store, fd.get(), file.string(), progress));
    } else {
        // qemu-img reads the spooled raw disk: half of the progress each.
        progress.total_bytes = manifest.size_bytes * 2;
        GOLDLINK_TRY_ASSIGN(const SpoolFile raw, SpoolFile::create(spool));
        FileDescriptor raw_fd(::open(raw.path().c_str(), O_RDWR | O_CLOEXEC));
        if (!raw_fd) return system_failure(fmt::format("cannot open {}", raw.path().string()));
        GOLDLINK_TRY(
            write_raw(manifest, store, raw_fd.get(), raw.path().string(), progress, nullptr));
        GOLDLINK_TRY(convert_from_raw(raw.path(), manifest.size_bytes, file, format, progress));
        if (::fsync(fd.get()) != 0)
            return system_failure(fmt::format("cannot sync {}", file.string()));
        GOLDLINK_TRY_ASSIGN(digest, hash_file(fd.get(), file.string(), progress));
    }
    unfinished.keep();
    return digest;
}

}  // namespace goldlink::store
