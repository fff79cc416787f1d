// GarbageCollector: finds and removes what this node holds and nobody wants, while it serves.
//
// Which versions and uploads are wanted only the manager's registry knows. So that nothing is
// removed that the registry names, or is about to, it takes three steps:
//   1. candidates(): what is there now, and a mark. Left out is what a link uses and what a task
//      works on. With a version stand the tasks of the queue that ended with it.
//   2. The registry is read, after that. What it names, what its tasks that have not ended made,
//      and what transfers under way are to become is taken from the list.
//   3. look() or collect() with the rest and the mark. A version that was made, or made anew, after
//      the mark stays. The mark is not above what the store had made when the oldest of the tasks
//      that run began: what one of them has made by then and not told stays too.
// A version that the registry comes to name after step 2 is one that a task or a transfer made
// which had not ended in the registry by then: it was made after the mark, or step 2 kept it.
//
// A mark is of this process: another one refuses it. Threads: any that may block.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "target/control/export_files.hpp"
#include "target/control/link_table.hpp"
#include "target/control/task_queue.hpp"
#include "target/control/upload_spool.hpp"

namespace goldlink::control {

struct GarbageItem {
    // version, upload, export, overlay, manifest, chunks, free_space, pack
    std::string kind;
    std::string name;         // a digest, or a file's name; "" where there is one of the kind
    std::uint64_t bytes = 0;  // that come back
    std::optional<std::uint64_t> own_bytes;  // of a version: in chunks that it alone has
    std::string reason;
};

struct GarbageReport {
    std::vector<GarbageItem> items;
    struct Kept {
        std::string kind, name, why;
    };
    std::vector<Kept> kept;  // what should have gone
    std::uint64_t bytes() const;
};

struct GarbageCandidates {
    struct Version {
        store::VersionInfo info;
        std::vector<std::string> tasks;  // that ended with it
    };
    std::string mark;
    std::vector<Version> versions;
    std::vector<SpooledFile> uploads;
};

// What nobody wants of the candidates.
struct GarbageRequest {
    static constexpr std::size_t kMaxVersions = 5000;
    static constexpr std::size_t kMaxUploads = 5000;

    std::string mark;
    std::vector<std::string> versions, uploads;
};

class GarbageCollector {
  public:
    GarbageCollector(store::ImageStore& store, LinkTable& links, const TaskQueue& tasks,
                     UploadSpool& uploads, ExportFiles& exports);

    Result<GarbageCandidates> candidates() const;
    Result<> check_mark(const std::string& mark) const;
    // One version, unless it was made after the mark, or a link or a task has it (conflict).
    Result<> remove_version(const std::string& digest, const std::string& mark);
    // What collect() would remove. conflict when the mark is another process's.
    Result<GarbageReport> look(const GarbageRequest& request) const;
    // What cannot be removed is told in the report; the rest goes all the same.
    Result<GarbageReport> collect(const GarbageRequest& request, store::Progress& progress);

  private:
    struct Protected;
    Protected protected_now() const;
    Result<std::uint64_t> parse_mark(const std::string& mark) const;
    std::optional<Result<>> remove_file(const GarbageItem& file);
    Result<> remove_version(const std::string& digest, std::uint64_t made_until);
    void collect_versions(const std::vector<GarbageItem>& versions, std::uint64_t mark,
                          GarbageReport& report, store::Progress& progress);

    store::ImageStore& store_;
    LinkTable& links_;
    const TaskQueue& tasks_;
    UploadSpool& uploads_;
    ExportFiles& exports_;
    const std::string epoch_;
};

}  // namespace goldlink::control
