#include "target/disk/journal.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>
#include <vector>

namespace goldlink::disk {

Result<std::unique_ptr<Journal>> Journal::create(store::Storage& storage,
                                                 const std::filesystem::path& path,
                                                 const JournalHeader& header) {
    if (const int error = storage.remove(path); error < 0)
        return system_failure(fmt::format("cannot replace {}", path.string()), -error);
    const int fd = storage.open(path, true);
    if (fd < 0) return system_failure(fmt::format("cannot create {}", path.string()), -fd);
    std::unique_ptr<Journal> journal(new Journal(storage, fd));
    journal->header_ = header;
    journal->header_.journal_file = storage.file_id(fd);
    if (const int error = journal->reserve(1); error < 0)
        return system_failure(fmt::format("cannot make room for {}", path.string()), -error);
    const auto bytes = journal->header_.encode();
    if (const int error = store::write_all(storage, journal->fd_, bytes.data(), bytes.size(), 0);
        error < 0)
        return system_failure(fmt::format("cannot write {}", path.string()), -error);
    return journal;
}

Result<std::unique_ptr<Journal>> Journal::open(store::Storage& storage,
                                               const std::filesystem::path& path) {
    const int fd = storage.open(path, false);
    if (fd < 0) return system_failure(fmt::format("cannot open {}", path.string()), -fd);
    std::unique_ptr<Journal> journal(new Journal(storage, fd));
    std::vector<std::uint8_t> header(kJournalHeaderBytes);
    const std::int64_t n = storage.read(fd, header.data(), header.size(), 0);
    if (n < 0)
        return system_failure(fmt::format("cannot read {}", path.string()), static_cast<int>(-n));
    if (n < static_cast<std::int64_t>(header.size()))
        return failure(ErrorKind::corrupt,
                       fmt::format("{} is cut short: not even its header is left; restore the "
                                   "overlay's files from a backup, or reset the link, which begins "
                                   "an empty disk",
                                   path.string()));
    GOLDLINK_TRY_ASSIGN(journal->header_, JournalHeader::decode(header.data(), path.string()));
    const std::int64_t size = storage.size(fd);
    if (size < 0)
        return system_failure(fmt::format("cannot examine {}", path.string()),
                              static_cast<int>(-size));
    journal->allocated_bytes_ = static_cast<std::uint64_t>(size);
    GOLDLINK_TRY(journal->look_for_end());
    GOLDLINK_TRY(journal->look_at_tail());
    // Only what will be appended to needs preparing, by whole pages.
    journal->prepared_bytes_ = std::min(journal->size_bytes() / 4096 * 4096, kMapBytes);
    return journal;
}

Journal::~Journal() {
    unmap();
    storage_.close(fd_);
}

void Journal::unmap() {
    guard_.reset();
    if (mapped_ != nullptr) storage_.unmap(std::exchange(mapped_, nullptr), kMapBytes);
}

Result<> Journal::for_each(
    const std::function<Result<>(std::uint64_t index, const Record& record)>& visit) const {
    constexpr std::size_t kBatch = 1 << 20;
    std::vector<std::uint8_t> buffer(std::min<std::uint64_t>(kBatch, count_ * kRecordBytes));
    for (std::uint64_t index = 0; index < count_;) {
        const auto wanted = static_cast<std::size_t>(
            std::min<std::uint64_t>(buffer.size(), (count_ - index) * kRecordBytes));
        const std::uint64_t offset = kJournalHeaderBytes + index * kRecordBytes;
        const std::int64_t n = storage_.read(fd_, buffer.data(), wanted, offset);
        if (n < 0) return system_failure("cannot read an overlay's journal", static_cast<int>(-n));
        const std::uint64_t records = static_cast<std::uint64_t>(n) / kRecordBytes;
        if (records == 0) return {};
        for (std::uint64_t i = 0; i < records; ++i, ++index) {
            const auto record =
                Record::decode(buffer.data() + i * kRecordBytes, index, header_.seed);
            if (record)
                GOLDLINK_TRY(visit(index, *record));
            else if (!skip_bad_)
                return {};
        }
    }
    return {};
}

Result<> Journal::look_for_end() {
    const std::uint64_t room = (allocated_bytes_ - kJournalHeaderBytes) / kRecordBytes;
    std::uint64_t next = 0, marks = 0, first_mark = 0, last_mark = 0, mark_before = 0;
    std::optional<std::uint64_t> first_bad;
    count_ = room;
    skip_bad_ = true;
    GOLDLINK_TRY(for_each([&](std::uint64_t index, const Record& record) -> Result<> {
        if (index != next && !first_bad) first_bad = next;
        if (index != next) end_.last_bad = index - 1;
        if (first_bad) ++end_.behind;
        next = index + 1;
        if (record.type != Record::Type::mark) return {};
        if (marks++ == 0) first_mark = index;
        mark_before = std::exchange(last_mark, index);
        return {};
    }));
    skip_bad_ = false;
    count_ = first_bad.value_or(next);
    end_.has_mark = marks > 0;
    end_.proven = marks == 0 ? 0 : marks == 1 ? first_mark + 1 : mark_before + 1;
    end_.first_bad = count_;
    end_.good_end = next;
    end_.fills_file = next == room;
    end_.odd_length = allocated_bytes_ % kGrowBytes != 0;
    return {};
}

void Journal::skip_bad_records() {
    skip_bad_ = true;
    count_ = end_.good_end;
}

Result<> Journal::rewrite(std::uint64_t index) {
    constexpr std::uint64_t kBatch = 256 * 1024;
    const auto failed = [](std::int64_t error) {
        return system_failure("cannot write an overlay's journal anew", static_cast<int>(error));
    };
    std::vector<std::uint8_t> buffer(kBatch);
    for (std::uint64_t at = kJournalHeaderBytes + index * kRecordBytes; at < size_bytes();) {
        const std::int64_t n =
            storage_.read(fd_, buffer.data(), std::min(kBatch, size_bytes() - at), at);
        if (n <= 0) return failed(n < 0 ? -n : EIO);
        if (const int error =
                store::write_all(storage_, fd_, buffer.data(), static_cast<std::size_t>(n), at);
            error < 0)
            return failed(-error);
        at += static_cast<std::uint64_t>(n);
    }
    return {};
}

Result<> Journal::look_at_tail() {
    constexpr std::size_t kBatch = 256 * 1024;
    std::vector<std::uint8_t> buffer(
        std::min<std::uint64_t>(kBatch, allocated_bytes_ - size_bytes()));
    for (std::uint64_t at = size_bytes(); at < allocated_bytes_ && clean_tail_;) {
        const std::int64_t n = storage_.read(fd_, buffer.data(), buffer.size(), at);
        if (n < 0) return system_failure("cannot read an overlay's journal", static_cast<int>(-n));
        if (n == 0) break;
        clean_tail_ = std::all_of(buffer.begin(), buffer.begin() + n,
                                  [](std::uint8_t byte) { return byte == 0; });
        at += static_cast<std::uint64_t>(n);
    }
    return {};
}

int Journal::reserve(std::uint64_t count) {
    const std::uint64_t needed = kJournalHeaderBytes + (count_ + count) * kRecordBytes;
    while (allocated_bytes_ < needed) {
        if (const int error = storage_.allocate(fd_, allocated_bytes_, kGrowBytes); error < 0)
            return error;
        allocated_bytes_ += kGrowBytes;
    }
    const std::uint64_t mappable = std::min(allocated_bytes_, kMapBytes);
    if (prepared_bytes_ < mappable) {
        if (!map_tried_) mapped_ = storage_.map(fd_, kMapBytes);
        map_tried_ = true;
        if (mapped_ != nullptr && !guard_)
            guard_ = std::make_unique<store::MemoryGuard>(mapped_, kMapBytes);
        const int error = mapped_ == nullptr ? 0
                                             : storage_.prepare_mapped(mapped_ + prepared_bytes_,
                                                                       mappable - prepared_bytes_);
        if (error == -EFAULT) {  // pages of the file that are not there any more
            cut_short_ = true;
            return -EIO;
        }
        if (error < 0) unmap();
        prepared_bytes_ = mappable;
    }
    return 0;
}

int Journal::append(const Record& record) {
    const std::uint64_t offset = size_bytes();
    // Several requests that wait for their data may have found the same room. One place stays
    // free, by which a journal that was cut short is known.
    if (offset + 2 * kRecordBytes > allocated_bytes_) [[unlikely]] {
        if (const int error = reserve(2); error < 0) return error;
    }
    std::uint8_t bytes[kRecordBytes];
    record.encode(bytes, count_, header_.seed);
    if (mapped_ != nullptr && offset + kRecordBytes <= kMapBytes) {
        std::memcpy(mapped_ + offset, bytes, kRecordBytes);
        if (guard_->failed()) [[unlikely]]
            return -EIO;
    } else if (const int error = store::write_all(storage_, fd_, bytes, kRecordBytes, offset);
               error < 0) {
        return error;
    }
    ++count_;
    return 0;
}

}  // namespace goldlink::disk
