// Imports whose files come in pieces, or lie on the server. An upload is an import's task in phase
// `upload`: its files are sent to the target's spool in as many requests as it takes, each going on
// where the last one ended, until it is finished and the import starts.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "common/hex.hpp"
#include "common/http/client.hpp"
#include "manager/api/input.hpp"
#include "manager/api/upload.hpp"
#include "manager/api/upload_feed.hpp"
#include "manager/api/views.hpp"
#include "manager/db/history.hpp"
#include "manager/db/images.hpp"

namespace goldlink::manager::api {
namespace {

constexpr std::size_t kMaxFiles = 1100;
constexpr std::size_t kMaxParents = 32;

struct File {
    std::string name;
    std::int64_t size_bytes = 0;
    std::int64_t received_bytes = 0;
};

struct Upload {
    db::Task task;
    std::vector<File> files;
    std::int64_t received_bytes() const {
        std::int64_t sum = 0;
        for (const File& file : files) sum += file.received_bytes;
        return sum;
    }
};

json::object view_of(const Upload& upload) {
    json::array files;
    for (const File& file : upload.files)
        files.push_back(json::object{{"name", file.name},
                                     {"size_bytes", file.size_bytes},
                                     {"received_bytes", file.received_bytes}});
    return {{"id", upload.task.id}, {"subject", upload.task.subject}, {"files", std::move(files)}};
}

bool is_file_name(std::string_view name) {
    return !name.empty() && name.size() <= 255 && name.front() != '.' &&
           std::none_of(name.begin(), name.end(), [](char c) {
               return static_cast<unsigned char>(c) < 0x20 || c == '/' || c == '\\';
           });
}

Maybe<std::vector<File>> files_field(const json::object& body) {
    const auto array = json::array_field(body, "files", kMaxFiles);
    if (!array) return refuse_field("files", array.error().message);
    if (array->empty()) return refuse_field("files", "name at least the file to import");
    std::vector<File> files;
    std::set<std::string> names;
    std::uint64_t total = 0;
    for (const json::value& item : *array) {
        if (!item.is_object()) return refuse_field("files", "each is {\"name\", \"size_bytes\"}");
        const json::object& object = item.get_object();
        if (const auto known = json::only_fields(object, {"name", "size_bytes"}); !known)
            return refuse_field("files", known.error().message);
        File file;
        const auto name = json::string_field(object, "name", 1, 255);
        const auto size =
            json::int_field(object, "size_bytes", 1, static_cast<std::int64_t>(kMaxUploadBytes));
        if (!name || !is_file_name(*name))
            return refuse_field("files",
                                "a file's name has 1 to 255 bytes, no '/' or '\\', and does not "
                                "start with a dot");
        if (!size) return refuse_field("files", fmt::format("{}: {}", *name, size.error().message));
        if (!names.insert(*name).second)
            return refuse_field("files", fmt::format("{} is named twice", *name));
        total += static_cast<std::uint64_t>(*size);
        files.push_back({*name, *size});
    }
    if (total > kMaxUploadBytes) return refuse_field("files", "an upload may have 64 TiB");
    return files;
}

struct Wanted {
    std::string image, format, note;
    std::optional<std::string> channel;
};

Maybe<Wanted> wanted_of(const Call& call, const json::object& body) {
    Wanted wanted;
    wanted.image = call.param("image");
    if (!is_name(wanted.image)) return refuse_field("image", "that is no name of an image");
    const auto format = json::optional_string(body, "format", 40);
    if (!format) return refuse_field("format", format.error().message);
    wanted.format = format->value_or("");
    if (auto known = check_format(wanted.format); !known) return Refused(std::move(known).error());
    GOLDLINK_TRY_CALL(const auto note, note_field(body));
    wanted.note = note.value_or("");
    GOLDLINK_TRY_CALL(wanted.channel, channel_field(body));
    return wanted;
}

Maybe<db::Task> insert_import(db::Connection& c, const Call& call, const Wanted& wanted,
                              const json::object& source, std::int64_t total_bytes, bool uploaded) {
    GOLDLINK_TRY_CALL(
        const db::Version version,
        begin_version(c, wanted.image, wanted.format == "iso" ? "iso" : "disk", wanted.note));
    db::NewTask task;
    task.id = random_uuid();
    task.kind = "import";
    task.subject = fmt::format("{}@{}", version.image, version.number);
    task.phase = uploaded ? "upload" : "start";
    task.total_bytes = total_bytes;
    task.version_id = version.id;
    task.channel = wanted.channel;
    if (uploaded) task.upload = "import-" + task.id;
    task.created_by = call.token.id;
    task.format = wanted.format;
    task.source = json::serialize(source);
    GOLDLINK_TRY(db::insert_task(c, task));
    GOLDLINK_TRY_ASSIGN(auto made, db::find_task(c, task.id));
    return std::move(*made);
}

Answer begin(Call& call) {
    GOLDLINK_TRY_CALL(const auto body, body_object(call, {"files", "format", "note", "channel"}));
    GOLDLINK_TRY_CALL(const Wanted wanted, wanted_of(call, body));
    Upload upload;
    GOLDLINK_TRY_CALL(upload.files, files_field(body));
    std::int64_t total = 0;
    for (const File& file : upload.files) total += file.size_bytes;
    GOLDLINK_TRY_CALL(upload.task, call.services.pool.transact([&](db::Connection& c) {
        return insert_import(c, call, wanted, {{"files", body.at("files")}}, total, true);
    }));
    return json_response(201, view_of(upload));
}

// The upload of the path, with what the target has of its files.
Maybe<Upload> needed_upload(Call& call) {
    GOLDLINK_TRY_CALL(const std::string id, uuid_param(call, "upload_id", "upload"));
    Upload upload;
    GOLDLINK_TRY_ASSIGN(const auto task, call.services.pool.run([&](db::Connection& c) {
        return db::find_task(c, id);
    }));
    if (!task || !task->source || !task->upload)
        return refuse_missing(fmt::format("upload {}", id));
    upload.task = *task;
    if (task->cancel_requested || task->phase != "upload")
        return refuse(409, "upload-ended", "The upload has ended",
                      fmt::format("the import of {} is {}; nothing more is taken for it. {}",
                                  task->subject, task->cancel_requested ? "cancelled" : task->state,
                                  task->error.value_or("")));
    GOLDLINK_TRY_ASSIGN(const auto source, json::parse_object(*task->source));
    GOLDLINK_TRY_CALL(upload.files, files_field(source));
    const auto there = call.services.target.call("GET", "/uploads/" + *task->upload);
    if (!there) return refuse_peer(call.services.target, there.error());
    GOLDLINK_TRY_ASSIGN(const auto spooled, json::parse_object(*there));
    GOLDLINK_TRY_ASSIGN(const auto files, json::array_field(spooled, "files", kMaxFiles));
    for (const json::value& item : files) {
        if (!item.is_object()) continue;
        const auto name = json::string_field(item.get_object(), "name", 1, 255);
        const auto bytes = json::int_field(item.get_object(), "bytes", 0, INT64_MAX);
        for (File& file : upload.files)
            if (name && bytes && file.name == *name) file.received_bytes = *bytes;
    }
    return upload;
}

Answer show(Call& call) {
    GOLDLINK_TRY_CALL(const Upload upload, needed_upload(call));
    return json_response(200, view_of(upload));
}

Answer put_file(Call& call) {
    if (call.request.header("content-length").empty())
        return refuse(411, "length-required", "The length of the piece is needed",
                      "send the piece with a Content-Length header");
    GOLDLINK_TRY_CALL(const auto asked, number_query(call, "offset"));
    const std::int64_t offset = asked.value_or(0);  // how much has arrived
    GOLDLINK_TRY_CALL(Upload upload, needed_upload(call));
    const std::string& name = call.param("file");
    const auto file = std::find_if(upload.files.begin(), upload.files.end(),
                                   [&](const File& one) { return one.name == name; });
    if (file == upload.files.end())
        return refuse_missing(fmt::format("file {} in this upload", name.substr(0, 255)));
    if (offset != file->received_bytes)
        return refuse(409, "wrong-offset", "The piece does not go on where the last one ended",
                      fmt::format("{} bytes of {} have arrived; send it from there on",
                                  file->received_bytes, name));
    const std::uint64_t length = call.request.body_reader->declared_length();
    if (length > static_cast<std::uint64_t>(file->size_bytes - offset))
        return refuse_field("content-length",
                            fmt::format("{} has {} bytes, {} of them have arrived, and {} more "
                                        "would come",
                                        name, file->size_bytes, offset, length));
    UploadFeed piece(call, upload.task, "uploading " + name, upload.received_bytes());
    // Of the other files, which may be parts of a disk, the first bytes say nothing.
    const std::string judged = file == upload.files.begin()
                                   ? "&image=1&format=" + http::percent_encode(upload.task.format)
                                   : std::string();
    const auto sent = call.services.target.put_stream(
        fmt::format("/uploads/{}/{}?offset={}&total={}{}", *upload.task.upload,
                    http::percent_encode(name), offset, file->size_bytes, judged),
        piece);
    if (!sent) {
        if (piece.broken() && piece.broken()->kind == ErrorKind::cancelled)
            return refuse(409, "cancelled", "The import was cancelled", piece.broken()->message);
        if (piece.broken())
            return refuse(400, "upload-cut-off", "The upload was cut off",
                          fmt::format("{}; what has arrived is kept, go on from there",
                                      piece.broken()->message));
        if (sent.error().status == 400)  // no import could take it: the rest is not wanted
            end_upload(call, upload.task, "failed", sent.error().detail);
        return refuse_peer(call.services.target, sent.error());
    }
    GOLDLINK_TRY(piece.note());
    file->received_bytes = offset + static_cast<std::int64_t>(length);
    return json_response(200, view_of(upload));
}

Maybe<json::object> digests_field(const json::object& body, const Upload& upload) {
    if (!body.contains("sha256")) return json::object();
    const auto digests = json::object_field(body, "sha256");
    if (!digests) return refuse_field("sha256", digests.error().message);
    for (const auto& [name, value] : *digests) {
        const auto hex = json::string_field(*digests, name, 64, 64);
        const bool known = std::any_of(upload.files.begin(), upload.files.end(),
                                       [&](const File& file) { return file.name == name; });
        if (!known || !hex || !std::all_of(hex->begin(), hex->end(), [](char c) {
                return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
            }))
            return refuse_field("sha256",
                                "it gives files of the upload their SHA-256 in 64 lower-case hex "
                                "digits");
    }
    return *digests;
}

Answer finish(Call& call) {
    GOLDLINK_TRY_CALL(const auto body, body_object(call, {"sha256"}, true));
    GOLDLINK_TRY_CALL(const Upload upload, needed_upload(call));
    GOLDLINK_TRY_CALL(const auto digests, digests_field(body, upload));
    for (const File& file : upload.files)
        if (file.received_bytes != file.size_bytes)
            return refuse(409, "upload-incomplete", "The upload is not complete",
                          fmt::format("{} of {} bytes of {} have arrived; send the rest, then "
                                      "finish it",
                                      file.received_bytes, file.size_bytes, file.name));
    return call.services.pool.transact([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY(db::finish_upload(c, upload.task.id, json::serialize(digests)));
        GOLDLINK_TRY_ASSIGN(const auto now, db::find_task(c, upload.task.id));
        if (!now) return refuse_missing(fmt::format("task {}", upload.task.id));
        return json_response(202, view(*now));
    });
}

// The file lies on the target's machine, in a folder that its admin allowed.
Answer import_server_path(Call& call) {
    GOLDLINK_TRY_CALL(const auto body,
                      body_object(call, {"server_path", "parents", "format", "note", "channel"}));
    GOLDLINK_TRY_CALL(const Wanted wanted, wanted_of(call, body));
    const auto path = json::string_field(body, "server_path", 1, 4096);
    if (!path) return refuse_field("server_path", path.error().message);
    if (!path->starts_with("/"))
        return refuse_field("server_path", "it is an absolute path on the server");
    json::object source{{"server_path", *path}};
    if (body.contains("parents")) {
        const auto parents = json::array_field(body, "parents", kMaxParents);
        if (!parents) return refuse_field("parents", parents.error().message);
        for (const json::value& parent : *parents)
            if (!parent.is_string() || !parent.get_string().starts_with("/"))
                return refuse_field("parents", "each is an absolute path on the server");
        source["parents"] = *parents;
    }
    return call.services.pool.transact([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY_CALL(const db::Task task, insert_import(c, call, wanted, source, 0, false));
        return json_response(202, view(task));
    });
}

}  // namespace

void add_upload_set_routes(Table& table) {
    table.push_back({"POST", "/images/{image}/uploads", kWrite, {}, begin});
    table.push_back({"POST", "/images/{image}/imports", kWrite, {}, import_server_path});
    table.push_back({"GET", "/uploads/{upload_id}", kWrite, {}, show});
    table.push_back(
        {"PUT", "/uploads/{upload_id}/files/{file}", kWrite, {"offset"}, put_file, true});
    table.push_back({"POST", "/uploads/{upload_id}/finish", kWrite, {}, finish});
}

}  // namespace goldlink::manager::api
