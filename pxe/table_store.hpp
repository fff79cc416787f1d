// The boot table in force: swapped whole, persisted before it counts, there again after a restart.
// Readers take a snapshot and never wait for the disk. Threads: any.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "common/problems.hpp"
#include "common/result.hpp"
#include "pxe/table.hpp"

namespace goldlink::pxe {

class TableStore {
  public:
    // Reads `file` when it is there. A file that cannot be understood is set aside, and the table
    // begins empty: the manager pushes it again.
    static std::unique_ptr<TableStore> open(std::filesystem::path file, Problems& problems);

    std::shared_ptr<const BootTable> table() const;
    // The body of PUT /table. Errors: invalid, naming the field; conflict for an older revision
    // than the one held and for a MAC given twice; io.
    Result<std::shared_ptr<const BootTable>> put(std::string_view json);

  private:
    explicit TableStore(std::filesystem::path file) : file_(std::move(file)) {}

    const std::filesystem::path file_;
    std::mutex put_mutex_;  // held while a table is persisted; before mutex_
    mutable std::mutex mutex_;
    std::shared_ptr<const BootTable> table_ = std::make_shared<BootTable>();
};

Result<BootTable> table_from_json(std::string_view text);
std::string table_to_json(const BootTable& table);

}  // namespace goldlink::pxe
