#include "target/store/new_data.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <unordered_set>

#include "common/file.hpp"

namespace goldlink::store {

namespace {

constexpr std::size_t kReadBytes = 4 << 20;
constexpr std::size_t kMaxKnown = 1 << 20;  // 64 GiB of new data; some 50 MiB of memory

}  // namespace

Result<std::uint64_t> new_bytes_of(int fd, const std::string& name, ChunkStore& store,
                                   const Progress& progress) {
    std::vector<std::uint8_t> buffer(kReadBytes);
    std::unordered_set<Digest, DigestHash> fresh;
    Hasher hasher;
    std::uint64_t bytes = 0;
    for (std::uint64_t at = 0;;) {
        if (progress.cancel) return failure(ErrorKind::cancelled, name + " was cancelled");
        const off_t data = ::lseek(fd, static_cast<off_t>(at), SEEK_DATA);
        if (data < 0 && errno == ENXIO) return bytes;
        if (data >= 0) at = static_cast<std::uint64_t>(data) / kChunkBytes * kChunkBytes;
        GOLDLINK_TRY_ASSIGN(const std::size_t got, read_at(fd, buffer, at, name));
        if (got == 0) return bytes;
        std::fill(buffer.begin() + static_cast<std::ptrdiff_t>(got), buffer.end(), std::uint8_t{0});
        GOLDLINK_TRY_ASSIGN(const auto txn, store.index().begin_read());
        for (std::size_t i = 0; i < got; i += kChunkBytes) {
            const Bytes chunk = Bytes(buffer).subspan(i, kChunkBytes);
            if (all_zero(chunk)) continue;
            const Digest digest = hasher.hash(chunk);
            GOLDLINK_TRY_ASSIGN(const auto known, txn.chunk(digest));
            if (known || fresh.contains(digest)) continue;
            if (fresh.size() < kMaxKnown) fresh.insert(digest);
            bytes += kChunkBytes;
        }
        at += kReadBytes;
    }
}

}  // namespace goldlink::store
