#include "common/chunk_frame.hpp"

#include <fmt/format.h>
#include <zstd.h>

namespace goldlink {

Result<std::string> pack_chunks(Bytes chunks) {
    std::string frame(ZSTD_compressBound(chunks.size()), '\0');
    const std::size_t length = ZSTD_compress(frame.data(), frame.size(), chunks.data(),
                                             chunks.size(), ZSTD_CLEVEL_DEFAULT);
    if (ZSTD_isError(length) != 0)
        return failure(ErrorKind::io,
                       fmt::format("cannot compress chunks: {}", ZSTD_getErrorName(length)));
    frame.resize(length);
    return frame;
}

Result<std::vector<std::uint8_t>> unpack_chunks(std::string_view frame) {
    const unsigned long long length = ZSTD_getFrameContentSize(frame.data(), frame.size());
    if (length == ZSTD_CONTENTSIZE_ERROR || length == ZSTD_CONTENTSIZE_UNKNOWN || length == 0 ||
        length % kFrameChunkBytes != 0 || length > kMaxFrameChunks * kFrameChunkBytes)
        return failure(
            ErrorKind::invalid,
            fmt::format("the body is no zstd frame of 1 to {} chunks of 64 KiB", kMaxFrameChunks));
    std::vector<std::uint8_t> chunks(length);
    const std::size_t got =
        ZSTD_decompress(chunks.data(), chunks.size(), frame.data(), frame.size());
    if (ZSTD_isError(got) != 0 || got != length)
        return failure(ErrorKind::invalid, "the body is a damaged zstd frame");
    return chunks;
}

}  // namespace goldlink
