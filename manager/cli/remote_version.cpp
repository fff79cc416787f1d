#include "manager/cli/remote_version.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "common/chunk_frame.hpp"
#include "manager/cli/image_verbs.hpp"
#include "manager/cli/patience.hpp"

namespace goldlink::cli {

namespace {

constexpr const char* kPlainChunks = "/chunks?encoding=identity";

std::uint64_t bytes_field(const json::value& object, std::string_view name) {
    return static_cast<std::uint64_t>(std::max<std::int64_t>(int_of(object, name), 0));
}

// A manifest as its bytes come in.
class ManifestReader {
  public:
    explicit ManifestReader(std::uint64_t size_bytes) { manifest_.size_bytes = size_bytes; }

    Result<> add(Bytes bytes) {
        if (header_bytes_ < header_.size()) {
            const std::size_t n = std::min(bytes.size(), header_.size() - header_bytes_);
            std::copy_n(bytes.begin(), n, header_.begin() + static_cast<long>(header_bytes_));
            header_bytes_ += n;
            bytes = bytes.subspan(n);
            if (header_bytes_ < header_.size()) return {};
            GOLDLINK_TRY(read_header());
        }
        const std::size_t room = manifest_.chunks.size() * sizeof(Digest) - chunk_bytes_;
        if (bytes.size() > room) return wrong("is longer than its header says");
        if (!bytes.empty()) manifest_.chunks.write_bytes(chunk_bytes_, bytes);
        chunk_bytes_ += bytes.size();
        return {};
    }

    Result<Manifest> finish(const Digest& digest) && {
        if (header_bytes_ < header_.size() ||
            chunk_bytes_ != manifest_.chunks.size() * sizeof(Digest))
            return failure(ErrorKind::unavailable, "the manifest did not come whole");
        if (manifest_.digest() != digest) return wrong("does not match the version's digest");
        return std::move(manifest_);
    }

  private:
    static Failure wrong(std::string_view why) {
        return failure(ErrorKind::corrupt, fmt::format("the manifest {}", why));
    }

    // Before memory is taken for what the header promises.
    Result<> read_header() {
        const auto size = manifest_disk_bytes(header_);
        if (!size) return wrong(size.error().message);
        if (*size != manifest_.size_bytes)
            return wrong(fmt::format("is of a disk of {} bytes, the version has {}", *size,
                                     manifest_.size_bytes));
        manifest_.chunks.resize(chunk_count_of(*size));
        return {};
    }

    Manifest manifest_;
    std::array<std::uint8_t, kManifestHeaderBytes> header_{};
    std::size_t header_bytes_ = 0, chunk_bytes_ = 0;
};

}  // namespace

const json::value* ready_version(const json::value& image, std::optional<std::int64_t> number,
                                 const std::string& digest_hex) {
    for (const auto& version : items_of(image, "versions")) {
        if (text_of(version, "state") != "ready") continue;
        if (number ? int_of(version, "number") == *number
                   : text_of(version, "digest") == digest_hex)
            return &version;
    }
    return nullptr;
}

std::string octets_of(std::span<const Digest> digests) {
    std::string octets;
    octets.reserve(digests.size() * sizeof(Digest));
    for (const Digest& digest : digests) octets += as_text(Bytes(digest));
    return octets;
}

RemoteVersion::RemoteVersion(Api& api, const json::value& image, const json::value& version,
                             const Digest& digest)
    : api_(&api),
      image_(text_of(image, "name")),
      kind_(text_of(image, "kind", "disk")),
      note_(text_of(version, "note")),
      number_(int_of(version, "number")),
      digest_(digest),
      size_bytes_(bytes_field(version, "size_bytes")),
      stored_bytes_(bytes_field(version, "stored_bytes")),
      damaged_(has_value(version, "damage") || int_of(version, "bad_bytes") > 0) {}

Result<RemoteVersion> RemoteVersion::find(Api& api, const ImageRef& ref) {
    GOLDLINK_TRY_ASSIGN(const auto image, api.get(image_path(ref.name)));
    GOLDLINK_TRY_ASSIGN(const auto number, version_of(image, ref));
    const json::value* const version = ready_version(image, number);
    if (version == nullptr)
        return failure(ErrorKind::not_found, fmt::format("{} has no version {}@{} that is ready",
                                                         api.url(), ref.name, number));
    GOLDLINK_TRY_ASSIGN(const Digest digest, parse_digest(text_of(*version, "digest")));
    RemoteVersion found(api, image, *version, digest);
    found.image_ = ref.name;
    if (found.size_bytes_ == 0 || found.size_bytes_ > kMaxDiskBytes)
        return failure(ErrorKind::invalid,
                       fmt::format("{} says that {} is a disk of {} bytes; a disk has 1 to {}",
                                   api.url(), found.subject(), found.size_bytes_, kMaxDiskBytes));
    return found;
}

Result<std::optional<RemoteVersion>> RemoteVersion::find_content(Api& api, const std::string& image,
                                                                 const Digest& digest) {
    const std::string hex = to_hex(digest);
    GOLDLINK_TRY_ASSIGN(auto images, api.list("/images"));
    std::stable_partition(images.begin(), images.end(), [&](const json::value& other) {
        return text_of(other, "name") == image;
    });
    std::optional<RemoteVersion> best;
    for (const json::value& other : images) {
        const json::value* const version = ready_version(other, std::nullopt, hex);
        if (version == nullptr) continue;
        RemoteVersion found(api, other, *version, digest);
        if (found.size_bytes_ == 0 || found.size_bytes_ > kMaxDiskBytes) continue;
        if (!best || (best->damaged() && !found.damaged())) best = std::move(found);
    }
    return best;
}

std::string RemoteVersion::subject() const { return fmt::format("{}@{}", image_, number_); }

std::string RemoteVersion::path() const {
    return fmt::format("{}/versions/{}", image_path(image_), number_);
}

Result<Manifest> RemoteVersion::manifest() {
    return patiently([this] { return fetch_manifest(); });
}

Result<Manifest> RemoteVersion::fetch_manifest() {
    ManifestReader reader(size_bytes_);
    Result<> added;
    const auto got = api_->download(path() + "/manifest", [&](std::string_view bytes) {
        received_bytes_ += bytes.size();
        added = reader.add(as_bytes(bytes));
        return added.has_value();
    });
    const auto context = fmt::format("the manifest of {} from {}", subject(), server());
    if (!added) return Failure(Error(added.error()).with_context(context));
    if (!got) return Failure(Error(got.error()).with_context(context));
    auto manifest = std::move(reader).finish(digest_);
    if (!manifest) return Failure(std::move(manifest).error().with_context(context));
    return manifest;
}

Result<std::string> RemoteVersion::frame(std::span<const Digest> digests) {
    return patiently([&]() -> Result<std::string> {
        GOLDLINK_TRY_ASSIGN(std::string frame, api_->octets("POST", path() + "/chunks",
                                                            octets_of(digests), kMaxFrameBytes));
        received_bytes_ += frame.size();
        return frame;
    });
}

Result<std::string> RemoteVersion::plain_chunks(std::span<const Digest> digests) {
    const std::size_t length = digests.size() * kChunkBytes;
    GOLDLINK_TRY_ASSIGN(std::string chunks,
                        api_->octets("POST", path() + kPlainChunks, octets_of(digests), length));
    received_bytes_ += chunks.size();
    if (chunks.size() == length) return chunks;
    return failure(ErrorKind::unavailable,
                   fmt::format("{} gives {} bytes of {}", server(), chunks.size(), length));
}

Result<> RemoteVersion::fetch(std::span<const Digest> digests, const Put& put) {
    return line_.each(
        digests, [&](auto some) { return fetch_frame(some, put); },
        [&](auto some, std::size_t& done) { return fetch_plain(some, put, done); });
}

Result<> RemoteVersion::put_checked(const Digest& digest, Bytes chunk, const Put& put) {
    if (hasher_->hash(chunk) == digest) return put(digest, chunk);
    return failure(ErrorKind::corrupt,
                   fmt::format("what {} gives as chunk {} of {} is something else", server(),
                               to_hex(digest), subject()));
}

Result<> RemoteVersion::fetch_frame(std::span<const Digest> digests, const Put& put) {
    GOLDLINK_TRY_ASSIGN(const std::string packed, frame(digests));
    auto chunks = unpack_chunks(packed);
    if (!chunks) return Failure(std::move(chunks).error().with_context(server()));
    if (chunks->size() != digests.size() * kChunkBytes)
        return failure(ErrorKind::invalid,
                       fmt::format("{} gives {} bytes where {} chunks were asked for", server(),
                                   chunks->size(), digests.size()));
    for (std::size_t i = 0; i < digests.size(); ++i)
        GOLDLINK_TRY(
            put_checked(digests[i], Bytes(*chunks).subspan(i * kChunkBytes, kChunkBytes), put));
    return {};
}

// Checks and hands on each chunk while the next ones come. `done`: so many were.
Result<> RemoteVersion::fetch_plain(std::span<const Digest> digests, const Put& put,
                                    std::size_t& done) {
    done = 0;
    std::vector<std::uint8_t> chunk;
    chunk.reserve(kChunkBytes);
    Result<> wrong;
    const auto take = [&](std::string_view bytes) {
        received_bytes_ += bytes.size();
        while (!bytes.empty()) {
            if (done == digests.size()) {
                wrong = failure(ErrorKind::invalid,
                                fmt::format("{} gives more than was asked for", server()));
                return false;
            }
            const auto part = bytes.substr(0, kChunkBytes - chunk.size());
            bytes.remove_prefix(part.size());
            Bytes whole = as_bytes(part);
            if (part.size() < kChunkBytes) {
                chunk.insert(chunk.end(), whole.begin(), whole.end());
                if (chunk.size() < kChunkBytes) continue;
                whole = chunk;
            }
            wrong = put_checked(digests[done], whole, put);
            if (!wrong) return false;
            chunk.clear();
            ++done;
        }
        return true;
    };
    const auto came = api_->octets_to("POST", path() + kPlainChunks, octets_of(digests), take);
    if (!wrong) return wrong;
    if (!came) return came;
    if (done == digests.size()) return {};
    return failure(ErrorKind::unavailable,
                   fmt::format("{} gives {} chunks of {}", server(), done, digests.size()));
}

}  // namespace goldlink::cli
