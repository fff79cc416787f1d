// Journal: the file of records (format: journal_record.hpp), appended without a system call where
// the file can be mapped. One thread. An append is in the page cache when it returns, so it
// survives this process; sync through the ring makes it survive the machine.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>

#include "target/disk/journal_record.hpp"
#include "target/store/memory_guard.hpp"
#include "target/store/storage.hpp"

namespace goldlink::disk {

class Journal {
  public:
    // An empty journal, replacing what has that name. Not yet durable.
    static Result<std::unique_ptr<Journal>> create(store::Storage& storage,
                                                   const std::filesystem::path& path,
                                                   const JournalHeader& header);
    // Reads the header and finds the end; the records come by for_each().
    static Result<std::unique_ptr<Journal>> open(store::Storage& storage,
                                                 const std::filesystem::path& path);
    ~Journal();

    // In order. For the time between open() and the first append.
    Result<> for_each(
        const std::function<Result<>(std::uint64_t index, const Record& record)>& visit) const;

    // Where the records end: torn, as a power loss leaves it, or damaged? A mark says what was
    // durable below it, but it may reach the disk before what it speaks of. What proves that its
    // sync ended: that another mark follows, as they are written one after the other, and that the
    // journal has its name, which it gets when its first mark is durable.
    struct End {
        std::uint64_t proven = 0;  // records below this were durable
        std::uint64_t behind = 0;  // good records behind the first bad one
        std::uint64_t first_bad = 0;
        std::uint64_t last_bad = 0;  // the last bad one that has a good one behind it
        std::uint64_t good_end = 0;  // behind the last good one
        bool has_mark = false;       // anywhere
        bool fills_file = false;     // there is always room for one more, unless it was cut short
        bool odd_length = false;     // it grows by whole steps
    };
    const End& end() const { return end_; }
    // From now on for_each leaves bad records out and goes on behind them: for what can be saved
    // of a damaged journal.
    void skip_bad_records();

    // Writes the records from `index` on over themselves, so that a sync brings them to the disk
    // whatever the kernel thinks of them. For the time between open() and the first append.
    Result<> rewrite(std::uint64_t index);

    // Makes room for `count` more records; 0 or -errno. An append without room makes it.
    int reserve(std::uint64_t count);
    int append(const Record& record);

    // Whether nothing but zeros followed the records when it was opened. Other bytes could become
    // records again once there are new ones before them.
    bool clean_tail() const { return clean_tail_; }

    // The file is no longer what was appended to: appends fail with -EIO.
    bool failed() const { return cut_short_ || (guard_ && guard_->failed()); }

    const JournalHeader& header() const { return header_; }
    std::uint64_t count() const { return count_; }
    std::uint64_t size_bytes() const { return kJournalHeaderBytes + count_ * kRecordBytes; }
    int fd() const { return fd_; }

  private:
    Journal(store::Storage& storage, int fd) : storage_(storage), fd_(fd) {}
    void unmap();
    Result<> look_for_end();
    Result<> look_at_tail();

    // Address space, not memory. Records past it are written with a system call each.
    static constexpr std::uint64_t kMapBytes = 256ull << 20;
    static constexpr std::uint64_t kGrowBytes = 256ull << 10;

    store::Storage& storage_;
    int fd_;
    JournalHeader header_;
    std::uint64_t count_ = 0;
    std::uint64_t allocated_bytes_ = 0;
    std::uint64_t prepared_bytes_ = 0;  // of the mapping
    bool map_tried_ = false;
    bool clean_tail_ = true;
    bool cut_short_ = false;
    bool skip_bad_ = false;
    End end_;
    std::uint8_t* mapped_ = nullptr;
    std::unique_ptr<store::MemoryGuard> guard_;  // of mapped_
};

}  // namespace goldlink::disk
