#include "target/disk/journal.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "common/check.hpp"

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
    if (const int error = journal->reserve(1); error < 0)
        return system_failure(fmt::format("cannot make room for {}", path.string()), -error);
    const auto bytes = header.encode();
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
        return failure(ErrorKind::corrupt, fmt::format("{} is cut short", path.string()));
    GOLDLINK_TRY_ASSIGN(journal->header_, JournalHeader::decode(header.data(), path.string()));
    const std::int64_t size = storage.size(fd);
    if (size < 0)
        return system_failure(fmt::format("cannot examine {}", path.string()),
                              static_cast<int>(-size));
    journal->allocated_bytes_ = static_cast<std::uint64_t>(size);
    std::uint64_t count = 0;
    journal->count_ = (journal->allocated_bytes_ - kJournalHeaderBytes) / kRecordBytes;
    GOLDLINK_TRY(journal->for_each([&count](std::uint64_t index, const Record&) -> Result<> {
        count = index + 1;
        return {};
    }));
    journal->count_ = count;
    GOLDLINK_TRY(journal->look_at_tail());
    // Only what will be appended to needs preparing, by whole pages.
    journal->prepared_bytes_ = std::min(journal->size_bytes() / 4096 * 4096, kMapBytes);
    return journal;
}

Journal::~Journal() {
    if (mapped_ != nullptr) storage_.unmap(mapped_, kMapBytes);
    storage_.close(fd_);
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
            if (!record) return {};
            GOLDLINK_TRY(visit(index, *record));
        }
    }
    return {};
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
        if (mapped_ != nullptr &&
            storage_.prepare_mapped(mapped_ + prepared_bytes_, mappable - prepared_bytes_) < 0) {
            storage_.unmap(mapped_, kMapBytes);
            mapped_ = nullptr;
        }
        prepared_bytes_ = mappable;
    }
    return 0;
}

int Journal::append(const Record& record) {
    const std::uint64_t offset = size_bytes();
    CHECK(offset + kRecordBytes <= allocated_bytes_, "a journal record without room");
    std::uint8_t bytes[kRecordBytes];
    record.encode(bytes, count_, header_.seed);
    if (mapped_ != nullptr && offset + kRecordBytes <= kMapBytes) {
        std::memcpy(mapped_ + offset, bytes, kRecordBytes);
    } else if (const int error = store::write_all(storage_, fd_, bytes, kRecordBytes, offset);
               error < 0) {
        return error;
    }
    ++count_;
    return 0;
}

}  // namespace goldlink::disk
