// What fills a link's overlay, as the target finds it.
#include <fmt/format.h>

#include "manager/api/link_disks.hpp"
#include "manager/api/links.hpp"

namespace goldlink::manager::api {
namespace {

constexpr unsigned kMaxFiles = 100, kDefaultFiles = 20;
constexpr std::size_t kMaxPartitions = 128;
constexpr std::size_t kMaxPathBytes = 1024, kMaxTextBytes = 4000;
// The target waits its turn, then looks for at most a minute.
constexpr std::chrono::seconds kLookTimeout{90};

Result<> copy_numbers(const json::object& from, json::object& to,
                      std::initializer_list<std::string_view> names) {
    for (const std::string_view name : names) {
        GOLDLINK_TRY_ASSIGN(to[name], json::int_field(from, name, 0, INT64_MAX));
    }
    return {};
}

Result<> copy_text_or_null(const json::object& from, json::object& to, std::string_view name) {
    GOLDLINK_TRY_ASSIGN(const auto text, json::optional_string(from, name, kMaxTextBytes));
    to[name] = nullptr;
    if (text) to[name] = *text;
    return {};
}

Result<json::object> parse_partition(const json::value& item) {
    if (!item.is_object()) return failure(ErrorKind::invalid, "a partition is no object");
    const json::object& said = item.as_object();
    json::object shown{{"number", nullptr}};
    GOLDLINK_TRY_ASSIGN(const auto number, json::optional_int(said, "number", 1, 1024));
    if (number) shown["number"] = *number;
    GOLDLINK_TRY(copy_numbers(said, shown,
                              {"offset_bytes", "length_bytes", "written_bytes", "file_bytes",
                               "metadata_bytes", "free_bytes", "other_bytes", "file_count"}));
    GOLDLINK_TRY_ASSIGN(shown["readable"], json::bool_field(said, "readable"));
    GOLDLINK_TRY(copy_text_or_null(said, shown, "file_system"));
    GOLDLINK_TRY(copy_text_or_null(said, shown, "problem"));
    GOLDLINK_TRY_ASSIGN(const json::array files, json::array_field(said, "files", kMaxFiles));
    json::array kept;
    for (const json::value& file : files) {
        if (!file.is_object()) return failure(ErrorKind::invalid, "a file is no object");
        json::object one;
        GOLDLINK_TRY_ASSIGN(one["path"],
                            json::string_field(file.as_object(), "path", 0, kMaxPathBytes));
        GOLDLINK_TRY(copy_numbers(file.as_object(), one, {"written_bytes", "size_bytes"}));
        kept.push_back(std::move(one));
    }
    shown["files"] = std::move(kept);
    return shown;
}

Result<json::object> parse_usage(const std::string& answer) {
    GOLDLINK_TRY_ASSIGN(const json::object said, json::parse_object(answer));
    json::object shown;
    GOLDLINK_TRY(copy_numbers(said, shown, {"lun", "disk_bytes", "used_bytes", "outside_bytes"}));
    GOLDLINK_TRY_ASSIGN(shown["live"], json::bool_field(said, "live"));
    GOLDLINK_TRY_ASSIGN(shown["complete"], json::bool_field(said, "complete"));
    GOLDLINK_TRY(copy_text_or_null(said, shown, "why"));
    GOLDLINK_TRY_ASSIGN(const json::array partitions,
                        json::array_field(said, "partitions", kMaxPartitions));
    json::array kept;
    for (const json::value& item : partitions) {
        GOLDLINK_TRY_ASSIGN(json::object partition, parse_partition(item));
        kept.push_back(std::move(partition));
    }
    shown["partitions"] = std::move(kept);
    return shown;
}

Answer show(Call& call) {
    GOLDLINK_TRY_CALL(const auto wanted_lun, number_query(call, "lun", kMaxLun));
    GOLDLINK_TRY_CALL(const auto wanted_files, number_query(call, "files", kMaxFiles));
    const std::int64_t lun = wanted_lun.value_or(0), files = wanted_files.value_or(kDefaultFiles);
    GOLDLINK_TRY_CALL(const db::Link link, call.services.pool.run([&](db::Connection& c) {
        return needed_link(c, call);
    }));
    GOLDLINK_TRY_CALL(const db::LinkDisk disk, needed_disk(link, lun));
    if (disk.kind == "iso")
        return refuse(409, "cdrom", "A CD-ROM has no overlay",
                      fmt::format("lun {} is the CD-ROM {}: nobody writes to it", lun, disk.image));
    const Peer& target = call.services.target;
    const auto answer =
        target.call("GET", fmt::format("/links/{}/usage?lun={}&files={}", link.id, lun, files), "",
                    kLookTimeout);
    // It looks into one disk at a time, which is no failure of it.
    if (!answer && answer.error().status == 503)
        return refuse(503, answer.error().type, "The target cannot look now",
                      answer.error().detail);
    if (!answer) return refuse_peer(target, answer.error());
    auto shown = parse_usage(*answer);
    if (!shown)
        return refuse(502, "target-failed", "The target's answer cannot be read",
                      shown.error().message);
    (*shown)["link_id"] = link.id;
    (*shown)["client"] = nullptr;
    if (link.client) (*shown)["client"] = *link.client;
    (*shown)["image"] = disk.image;
    (*shown)["policy"] = disk.policy;
    return json_response(200, *shown);
}

}  // namespace

void add_link_usage_routes(Table& table) {
    table.push_back({"GET", "/links/{link_id}/usage", kRead, {"lun", "files"}, show});
}

}  // namespace goldlink::manager::api
