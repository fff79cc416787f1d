// Bodies of messages as they come and go: read into memory, or moved on from one connection to
// another within the kernel (relay.hpp). Used by one thread at a time, which may block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "common/result.hpp"

namespace goldlink::http {

class SocketStream;

// What can be sent on as the body of a request.
class BodySource {
  public:
    virtual ~BodySource() = default;
    virtual std::uint64_t declared_length() const = 0;
    // Sends 1 to `at_most` of the next bytes to `out`; 0 is the end of the body. Errors: of this
    // side those of BodyReader::read; `cancelled` when `out` takes no more in time, is closed, or
    // has an answer to be read.
    virtual Result<std::size_t> pass_to(SocketStream& out, std::uint64_t at_most) = 0;
};

// A body of `length` bytes that a function makes: it fills the buffer and returns the count, 0 at
// the end.
class MadeBody final : public BodySource {
  public:
    using Make = std::function<Result<std::size_t>(char* buffer, std::size_t size)>;
    MadeBody(std::uint64_t length, Make make) : length_(length), make_(std::move(make)) {}
    std::uint64_t declared_length() const override { return length_; }
    Result<std::size_t> pass_to(SocketStream& out, std::uint64_t at_most) override;

  private:
    const std::uint64_t length_;
    const Make make_;
    std::vector<char> buffer_;
};

// The part of a request body not read into memory; for routes with `streaming_body`.
class BodyReader : public BodySource {
  public:
    // Blocks for the next bytes; 0 is the end of the body. Errors: peer gone, too slow, too long.
    virtual Result<std::size_t> read(std::span<char> buffer) = 0;
    // Fills the buffer. Errors: those of read(); invalid when the body ends before.
    Result<> read_exactly(std::span<char> buffer);
    // Content-Length when the peer gave one, else 0.
    std::uint64_t declared_length() const override = 0;
    // By way of memory.
    Result<std::size_t> pass_to(SocketStream& out, std::uint64_t at_most) override;
};

// Where a streaming response writes; every write blocks until the peer took it or is dropped.
class BodyWriter {
  public:
    virtual ~BodyWriter() = default;
    virtual Result<> write(std::string_view bytes) = 0;
    // Takes the next `count` bytes of `from`, which must send them. Errors: those of write(); of
    // `from` its own, after which nothing more can be written.
    virtual Result<> take_from(SocketStream& from, std::size_t count) = 0;
    // The rest will not come: the peer sees that what it has is not all.
    virtual void break_off() = 0;
    // True once the server is stopping: long streams (SSE, long polls) must end soon.
    virtual bool stopping() const = 0;
};

}  // namespace goldlink::http
