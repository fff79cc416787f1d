// RemoteVersion: a version at a server, fetched by its chunks. Nothing that comes is believed
// before its digest is checked, and no more is taken than was asked for. Calls are repeated while
// the connection breaks. One thread. Include only from .cpp files (api.hpp).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "common/manifest.hpp"
#include "manager/cli/api.hpp"
#include "manager/cli/line_choice.hpp"
#include "manager/cli/text.hpp"

namespace goldlink::cli {

class RemoteVersion {
  public:
    // The version that a reference means; refused when it is not ready.
    static Result<RemoteVersion> find(Api& api, const ImageRef& ref);
    // A ready version of this content: of the image of this name if that has it, else of any.
    // nullopt when the server has none.
    static Result<std::optional<RemoteVersion>> find_content(Api& api, const std::string& image,
                                                             const Digest& digest);

    std::string subject() const;  // win11@7
    const std::string& image() const { return image_; }
    std::int64_t number() const { return number_; }
    const std::string& kind() const { return kind_; }  // disk or iso
    const std::string& note() const { return note_; }
    const Digest& digest() const { return digest_; }
    std::uint64_t size_bytes() const { return size_bytes_; }
    std::uint64_t stored_bytes() const { return stored_bytes_; }
    bool damaged() const { return damaged_; }  // as far as the server knows
    const std::string& server() const { return api_->url(); }

    Result<Manifest> manifest();
    // Chunks as they travel, for somebody who checks them: at most kMaxFrameChunks in a frame, or
    // kMaxPlainChunks as they are, which the server has not checked either; that is not tried
    // again.
    Result<std::string> frame(std::span<const Digest> digests);
    Result<std::string> plain_chunks(std::span<const Digest> digests);
    // Any number, checked, handed to `put` in their order.
    using Put = std::function<Result<>(const Digest& digest, Bytes chunk)>;
    Result<> fetch(std::span<const Digest> digests, const Put& put);

    std::uint64_t received_bytes() const { return received_bytes_; }

  private:
    RemoteVersion(Api& api, const json::value& image, const json::value& version,
                  const Digest& digest);
    std::string path() const;
    Result<Manifest> fetch_manifest();
    Result<> put_checked(const Digest& digest, Bytes chunk, const Put& put);
    Result<> fetch_frame(std::span<const Digest> digests, const Put& put);
    Result<> fetch_plain(std::span<const Digest> digests, const Put& put, std::size_t& done);

    Api* api_;
    std::string image_, kind_, note_;
    std::int64_t number_ = 0;
    Digest digest_{};
    std::uint64_t size_bytes_ = 0, stored_bytes_ = 0;
    bool damaged_ = false;
    std::uint64_t received_bytes_ = 0;
    std::unique_ptr<Hasher> hasher_ = std::make_unique<Hasher>();
    LineChoice line_;
};

// A ready version of an image's JSON, with this number or, without one, this digest; null: none.
const json::value* ready_version(const json::value& image, std::optional<std::int64_t> number,
                                 const std::string& digest_hex = "");
// Digests one after the other, as the API takes them.
std::string octets_of(std::span<const Digest> digests);

}  // namespace goldlink::cli
