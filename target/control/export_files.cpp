#include "target/control/export_files.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "common/file.hpp"
#include "common/hex.hpp"
#include "common/log.hpp"
#include "target/control/upload_spool.hpp"

namespace goldlink::control {
namespace {

Failure no_such_export(const std::string& task_id) {
    return failure(ErrorKind::not_found,
                   fmt::format("there is no exported file of task {}: it is kept for {} hours; "
                               "export the version again",
                               task_id.substr(0, 64), ExportFiles::kKeep.count()));
}

}  // namespace

Result<> ExportFiles::open() {
    GOLDLINK_TRY(make_directories(folder_));
    remove_old();
    return {};
}

std::vector<std::string> ExportFiles::old() const {
    std::vector<std::string> names;
    std::error_code error;
    const auto oldest = std::filesystem::file_time_type::clock::now() - kKeep;
    for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
        const auto written = std::filesystem::last_write_time(entry.path(), error);
        if (!error && written <= oldest) names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
}

std::uint64_t ExportFiles::bytes_of(const std::string& name) const {
    return disk_bytes(folder_ / name);
}

Result<> ExportFiles::remove_file(const std::string& name) {
    std::error_code error;
    std::filesystem::remove(folder_ / name, error);
    if (error) return system_failure(fmt::format("cannot delete export {}", name), error.value());
    return {};
}

void ExportFiles::remove_old() const {
    std::error_code error;
    for (const std::string& name : old()) {
        log::info("removing {}, an export that is old", (folder_ / name).string());
        std::filesystem::remove(folder_ / name, error);
    }
}

Result<std::filesystem::path> ExportFiles::begin(const std::string& task_id) {
    if (!is_uuid(task_id)) return no_such_export(task_id);
    remove_old();
    std::error_code error;
    std::filesystem::remove(folder_ / task_id, error);
    return folder_ / task_id;
}

Result<std::filesystem::path> ExportFiles::find(const std::string& task_id) const {
    std::error_code error;
    if (!is_uuid(task_id) || !std::filesystem::is_regular_file(folder_ / task_id, error))
        return no_such_export(task_id);
    return folder_ / task_id;
}

Result<> ExportFiles::remove(const std::string& task_id) {
    if (!is_uuid(task_id)) return {};
    std::error_code error;
    std::filesystem::remove(folder_ / task_id, error);
    if (error)
        return system_failure(fmt::format("cannot delete the export of task {}", task_id),
                              error.value());
    return {};
}

}  // namespace goldlink::control
