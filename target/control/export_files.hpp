// ExportFiles: versions written out as disk image files, waiting to be fetched. Named by their
// task; removed when asked, or a day after they were written. Threads: any that may block.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "common/result.hpp"

namespace goldlink::control {

class ExportFiles {
  public:
    static constexpr std::chrono::hours kKeep{24};

    explicit ExportFiles(std::filesystem::path folder) : folder_(std::move(folder)) {}

    Result<> open();  // makes the folder, removes what is old
    // Where the export of a task goes. Whatever a stopped target left there is gone.
    Result<std::filesystem::path> begin(const std::string& task_id);
    Result<std::filesystem::path> find(const std::string& task_id) const;
    Result<> remove(const std::string& task_id);
    // Those that are kept no longer and still there: they are looked at when another is made.
    std::vector<std::string> old() const;
    std::uint64_t bytes_of(const std::string& name) const;  // that the file takes
    Result<> remove_file(const std::string& name);          // one of old()

  private:
    void remove_old() const;

    std::filesystem::path folder_;
};

}  // namespace goldlink::control
