#include "common/http/body.hpp"

#include <algorithm>

#include "common/http/socket_stream.hpp"

namespace goldlink::http {
namespace {

constexpr std::size_t kStepBytes = 256 * 1024;

// What `fill` puts into the buffer goes to `out`.
template <typename Fill>
Result<std::size_t> pass_by_memory(std::vector<char>& buffer, SocketStream& out,
                                   std::uint64_t at_most, Fill fill) {
    buffer.resize(kStepBytes);
    GOLDLINK_TRY_ASSIGN(
        const std::size_t n,
        fill(std::span(buffer).first(std::min<std::uint64_t>(at_most, buffer.size()))));
    boost::system::error_code error;
    out.write_all({buffer.data(), n}, "", "", error);
    if (error) return failure(ErrorKind::cancelled, "the receiver takes no more of the body");
    return n;
}

}  // namespace

Result<std::size_t> MadeBody::pass_to(SocketStream& out, std::uint64_t at_most) {
    return pass_by_memory(buffer_, out, at_most,
                          [this](std::span<char> part) { return make_(part.data(), part.size()); });
}

Result<> BodyReader::read_exactly(std::span<char> buffer) {
    while (!buffer.empty()) {
        GOLDLINK_TRY_ASSIGN(const std::size_t n, read(buffer));
        if (n == 0)
            return failure(ErrorKind::invalid, "the body is shorter than it was said to be");
        buffer = buffer.subspan(n);
    }
    return {};
}

Result<std::size_t> BodyReader::pass_to(SocketStream& out, std::uint64_t at_most) {
    std::vector<char> buffer;
    return pass_by_memory(buffer, out, at_most,
                          [this](std::span<char> part) { return read(part); });
}

}  // namespace goldlink::http
