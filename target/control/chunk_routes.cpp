// Versions between servers: a version's manifest and chunks going out, the missing ones coming in.
// Bodies are octets: digests of 32 bytes one after the other, zstd frames of chunks.
#include <fmt/format.h>

#include <boost/json.hpp>

#include "common/chunk_frame.hpp"
#include "common/json.hpp"
#include "target/control/control_context.hpp"
#include "target/control/transfers.hpp"
#include "target/store/version_transfer.hpp"

namespace goldlink::control {
namespace {

http::Response respond_octets(std::string body) {
    http::Response response;
    response.content_type = "application/octet-stream";
    response.body = std::move(body);
    return response;
}

Result<Bytes> digests_of(const http::Request& request, std::size_t at_most) {
    const std::size_t count = request.body.size() / kDigestBytes;
    if (request.body.empty() || request.body.size() % kDigestBytes != 0 || count > at_most)
        return failure(ErrorKind::invalid,
                       fmt::format("the body is 1 to {} digests of 32 bytes", at_most));
    return as_bytes(request.body);
}

http::Response get_manifest(ControlContext& context, const http::Request& request) {
    const auto file = context.store.manifest_file(request.params.at("digest"));
    if (!file) return http::problem(file.error());
    http::Response response;
    response.content_type = "application/octet-stream";
    response.file_path = file->string();
    return response;
}

// As they are, and not checked: whoever asks for them does that, while they come.
http::Response plain_chunks(ControlContext& context, const http::Request& request) {
    const auto digests = digests_of(request, kMaxPlainChunks);
    if (!digests) return http::problem(digests.error());
    http::Response response;
    response.content_type = "application/octet-stream";
    response.stream_bytes = digests->size() / kDigestBytes * kFrameChunkBytes;
    response.stream = [&context, asked = request.body](http::BodyWriter& writer) {
        const auto passed = context.store.pass_chunks(
            as_bytes(asked), [&](Bytes chunks) { return writer.write(as_text(chunks)); });
        if (!passed) writer.break_off();
    };
    return response;
}

http::Response post_chunks(ControlContext& context, const http::Request& request) {
    if (request.query_value("encoding") == "identity") return plain_chunks(context, request);
    const auto frame = [&]() -> Result<std::string> {
        GOLDLINK_TRY_ASSIGN(const Bytes digests, digests_of(request, kMaxFrameChunks));
        GOLDLINK_TRY_ASSIGN(const auto chunks, context.store.read_chunks(digests));
        return pack_chunks(chunks);
    }();
    if (!frame) return http::problem(frame.error());
    return respond_octets(std::move(*frame));
}

http::Response post_missing(ControlContext& context, const http::Request& request) {
    const auto digests = digests_of(request, kMaxAskedChunks);
    if (!digests) return http::problem(digests.error());
    const auto missing = context.transfers.with<std::vector<std::uint8_t>>(
        request.params.at("id"),
        [&](store::VersionTransfer& transfer) { return transfer.missing(*digests); });
    if (!missing) return http::problem(missing.error());
    return respond_octets(std::string(missing->begin(), missing->end()));
}

// Each is stored as it comes.
Result<std::uint64_t> store_plain(store::VersionTransfer& transfer, http::BodyReader& body) {
    const std::uint64_t length = body.declared_length();
    if (length == 0 || length % kFrameChunkBytes != 0 ||
        length > kMaxPlainChunks * kFrameChunkBytes)
        return failure(
            ErrorKind::invalid,
            fmt::format("the body is not 1 to {} whole chunks of 64 KiB", kMaxPlainChunks));
    std::vector<char> chunk(kFrameChunkBytes);
    for (std::uint64_t done = 0; done < length; done += chunk.size()) {
        GOLDLINK_TRY(body.read_exactly(chunk));
        GOLDLINK_TRY(transfer.store(as_bytes(std::string_view(chunk.data(), chunk.size()))));
    }
    return length;
}

Result<std::vector<std::uint8_t>> read_frame(http::BodyReader& body) {
    const std::uint64_t length = body.declared_length();
    if (length == 0 || length > kMaxFrameBytes)
        return failure(ErrorKind::invalid,
                       fmt::format("a frame of chunks has 1 to {} bytes", kMaxFrameBytes));
    std::string frame(static_cast<std::size_t>(length), '\0');
    GOLDLINK_TRY(body.read_exactly(frame));
    return unpack_chunks(frame);
}

http::Response put_chunks(ControlContext& context, const http::Request& request) {
    const std::string& id = request.params.at("id");
    http::BodyReader& body = *request.body_reader;
    const auto bytes = [&]() -> Result<std::uint64_t> {
        if (request.query_value("encoding") == "identity")
            return context.transfers.with<std::uint64_t>(
                id, [&](store::VersionTransfer& transfer) { return store_plain(transfer, body); });
        GOLDLINK_TRY_ASSIGN(const auto chunks, read_frame(body));
        GOLDLINK_TRY(context.transfers.with<void>(
            id, [&](store::VersionTransfer& transfer) { return transfer.store(chunks); }));
        return chunks.size();
    }();
    if (!bytes) return http::problem(bytes.error());
    return respond_json(200, json::object{{"bytes", *bytes}});
}

struct FinishRequest {
    std::string upload;
    Digest digest{};
    bool repair = false;
};

Result<FinishRequest> parse_finish(const http::Request& request) {
    GOLDLINK_TRY_ASSIGN(const json::object body, body_object(request));
    GOLDLINK_TRY(json::only_fields(body, {"upload", "digest", "repair"}));
    FinishRequest finish;
    GOLDLINK_TRY_ASSIGN(finish.upload, json::string_field(body, "upload", 1, 128));
    GOLDLINK_TRY_ASSIGN(const auto hex, json::string_field(body, "digest", 64, 64));
    GOLDLINK_TRY_ASSIGN(finish.digest, parse_digest(hex));
    GOLDLINK_TRY_ASSIGN(const auto repair, json::optional_bool(body, "repair"));
    finish.repair = repair.value_or(false);
    return finish;
}

Result<json::object> make(store::VersionTransfer& transfer, const std::filesystem::path& manifest,
                          const Digest& digest) {
    GOLDLINK_TRY_ASSIGN(const store::VersionInfo made, transfer.finish(manifest, digest));
    return json::object{{"digest", made.digest},
                        {"size_bytes", made.size_bytes},
                        {"stored_bytes", made.stored_bytes},
                        {"unique_bytes", made.unique_bytes}};
}

Result<json::object> mend(store::VersionTransfer& transfer, const std::filesystem::path& manifest,
                          const Digest& digest) {
    GOLDLINK_TRY_ASSIGN(const store::RepairResult mended, transfer.mend(manifest, digest));
    return json::object{{"bad_chunks", mended.bad_chunks},
                        {"mended_chunks", mended.mended_chunks},
                        {"manifest_mended", mended.manifest_mended}};
}

http::Response post_finish(ControlContext& context, const http::Request& request) {
    const std::string& id = request.params.at("id");
    const auto done = [&]() -> Result<json::object> {
        GOLDLINK_TRY_ASSIGN(const FinishRequest finish, parse_finish(request));
        GOLDLINK_TRY_ASSIGN(const auto file, context.uploads.find(finish.upload));
        GOLDLINK_TRY_ASSIGN(
            const json::object shown,
            context.transfers.with<json::object>(id, [&](store::VersionTransfer& transfer) {
                return finish.repair ? mend(transfer, file, finish.digest)
                                     : make(transfer, file, finish.digest);
            }));
        (void)context.uploads.remove(finish.upload);
        return shown;
    }();
    if (!done) return http::problem(done.error());
    context.transfers.forget(id);
    context.links.retry_problems();
    return respond_json(200, *done);
}

}  // namespace

void add_chunk_routes(std::vector<http::Route>& routes, ControlContext& c) {
    using http::Request;
    routes.push_back(
        {"GET", "/versions/{digest}/manifest", [&c](Request& r) { return get_manifest(c, r); }});
    routes.push_back(
        {"POST", "/versions/{digest}/chunks", [&c](Request& r) { return post_chunks(c, r); }});
    routes.push_back(
        {"POST", "/transfers/{id}/missing", [&c](Request& r) { return post_missing(c, r); }});
    routes.push_back({.method = "PUT",
                      .pattern = "/transfers/{id}/chunks",
                      .handler = [&c](Request& r) { return put_chunks(c, r); },
                      .streaming_body = true});
    routes.push_back(
        {"POST", "/transfers/{id}/finish", [&c](Request& r) { return post_finish(c, r); }});
    routes.push_back({"DELETE", "/transfers/{id}", [&c](Request& r) {
                          c.transfers.forget(r.params.at("id"));
                          return respond_text(204, "");
                      }});
}

}  // namespace goldlink::control
