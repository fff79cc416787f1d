#include "sim_storage.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "common/check.hpp"

namespace goldlink::sim {

// ---- One file

SimFile::SimFile()
    : now_(static_cast<std::uint8_t*>(std::calloc(kCapacity, 1)), std::free),
      durable_(static_cast<std::uint8_t*>(std::calloc(kCapacity, 1)), std::free) {
    CHECK(now_ && durable_, "out of memory");
}

void SimFile::resize(std::uint64_t size) {
    CHECK(size <= kCapacity, "a simulated file grows too large");
    if (size < size_) std::memset(now_.get() + size, 0, size_ - size);
    size_ = size;
}

void SimFile::write(std::uint64_t offset, const std::uint8_t* data, std::size_t length) {
    if (offset + length > size_) resize(offset + length);
    std::memcpy(now_.get() + offset, data, length);
    for (auto sector = offset / kSector; sector <= (offset + length - 1) / kSector; ++sector)
        lost_.erase(sector);
}

bool SimFile::is_lost(std::uint64_t sector) const {
    const auto found = lost_.find(sector);
    return found != lost_.end() &&
           std::memcmp(found->second.data(), now_.get() + sector * kSector, kSector) == 0;
}

void SimFile::make_durable(std::uint64_t sector) {
    if (!is_lost(sector))
        std::memcpy(durable_.get() + sector * kSector, now_.get() + sector * kSector, kSector);
}

void SimFile::sync(bool ok) {
    const std::uint64_t end = std::max(size_, durable_size_);
    for (std::uint64_t sector = 0; sector * kSector < end; ++sector) {
        if (ok) {
            make_durable(sector);
        } else if (std::memcmp(now_.get() + sector * kSector, durable_.get() + sector * kSector,
                               kSector) != 0) {
            lost_[sector].assign(reinterpret_cast<const char*>(now_.get() + sector * kSector),
                                 kSector);
        }
    }
    if (ok) durable_size_ = size_;
}

void SimFile::write_back_some(Random& random) {
    for (std::uint64_t sector = 0; sector * kSector < size_; ++sector)
        if (random() % 4 == 0) make_durable(sector);
    if (random() % 2 == 0) durable_size_ = size_;
}

void SimFile::lose_power(Random& random) {
    write_back_some(random);
    lost_.clear();
    const std::uint64_t end = std::max(size_, durable_size_);
    size_ = durable_size_;
    std::memset(durable_.get() + size_, 0, end - size_);
    std::memcpy(now_.get(), durable_.get(), end);
}

void SimFile::rot(std::uint64_t offset) {
    for (std::uint8_t* bytes : {now_.get(), durable_.get()}) bytes[offset] ^= 0x10;
}

// ---- All of them

bool SimStorage::dead() {
    if (calls_until_dead < 0) return false;
    if (calls_until_dead == 0) return true;
    if (--calls_until_dead > 0) return false;
    if (on_death) on_death();
    return true;
}

void SimStorage::lose_power() {
    // Names are durable in the order they were changed, up to some point.
    names_ = durable_names_[random_() % durable_names_.size()];
    std::erase_if(names_,
                  [](const auto& entry) { return entry.first.starts_with("/ram/"); });  // tmpfs
    durable_names_ = {names_};
    for (auto& [name, file] : names_) file->lose_power(random_);
    ++boots_;
}

void SimStorage::write_back_some() {
    for (auto& [name, file] : names_)
        if (random_() % 2 == 0) file->write_back_some(random_);
    if (random_() % 2 == 0) durable_names_ = {names_};
}

std::shared_ptr<SimFile> SimStorage::file(int fd) const {
    const auto found = files_.find(fd);
    CHECK(found != files_.end(), "a descriptor is used that is not open");
    return found->second;
}

int SimStorage::open(const std::filesystem::path& path, bool create) {
    if (dead()) return -EIO;
    auto& file = names_[path.string()];
    if (!file) {
        if (!create) {
            names_.erase(path.string());
            return -ENOENT;
        }
        file = std::make_shared<SimFile>();
        names_changed();
    }
    files_[next_fd_] = file;
    return next_fd_++;
}

int SimStorage::open_folder(const std::filesystem::path& path) {
    if (dead()) return -EIO;
    files_[next_fd_] = nullptr;
    folders_[next_fd_] = path;
    return next_fd_++;
}

void SimStorage::close(int fd) {
    files_.erase(fd);
    folders_.erase(fd);
}

std::int64_t SimStorage::size(int fd) {
    return dead() ? -EIO : static_cast<std::int64_t>(file(fd)->size());
}

int SimStorage::truncate(int fd, std::uint64_t length) {
    if (dead() || percent(faults.write_error)) return -EIO;
    file(fd)->resize(length);
    return 0;
}

std::int64_t SimStorage::read_some(int fd, const iovec* vectors, unsigned count,
                                   std::uint64_t offset) {
    const auto source = file(fd);
    std::int64_t total = 0;
    for (unsigned i = 0; i < count; ++i) {
        if (offset >= source->size()) break;
        auto length = std::min<std::uint64_t>(vectors[i].iov_len, source->size() - offset);
        if (length > 1 && percent(faults.short_io)) length = 1 + random_() % (length - 1);
        std::memcpy(vectors[i].iov_base, source->bytes() + offset, length);
        total += static_cast<std::int64_t>(length);
        offset += length;
        if (length < vectors[i].iov_len) break;
    }
    return total;
}

std::int64_t SimStorage::read(int fd, std::uint8_t* data, std::size_t length,
                              std::uint64_t offset) {
    if (dead() || percent(faults.read_error)) return -EIO;
    const iovec vector{data, length};
    return read_some(fd, &vector, 1, offset);
}

int SimStorage::sync(int fd) {
    if (dead()) return -EIO;
    const auto target = file(fd);
    CHECK(target, "a folder's data alone is synced, which leaves its names in memory");
    const bool ok = !percent(faults.sync_error);
    target->sync(ok);
    return ok ? 0 : -EIO;
}

int SimStorage::sync_folder(int fd) {
    if (dead()) return -EIO;
    CHECK(!file(fd), "a file is synced as a folder");
    if (percent(faults.sync_error)) return -EIO;
    const auto is_in_it = [folder = folders_.at(fd)](const auto& entry) {
        return std::filesystem::path(entry.first).parent_path() == folder;
    };
    for (Names& durable : durable_names_) {
        std::erase_if(durable, is_in_it);
        std::copy_if(names_.begin(), names_.end(), std::inserter(durable, durable.end()), is_in_it);
    }
    return 0;
}

int SimStorage::punch(int fd, std::uint64_t offset, std::uint64_t length) {
    if (dead() || percent(faults.write_error)) return -EIO;
    const auto target = file(fd);
    if (offset >= target->size()) return 0;
    const std::vector<std::uint8_t> zeroes(std::min(length, target->size() - offset));
    target->write(offset, zeroes.data(), zeroes.size());
    return 0;
}

// A sector of zeroes takes none.
std::int64_t SimStorage::taken_bytes(int fd, std::uint64_t offset, std::uint64_t length) {
    if (dead()) return -EIO;
    const auto target = file(fd);
    const std::uint64_t end = std::min(offset + length, target->size());
    std::int64_t taken = 0;
    for (; offset < end; offset += SimFile::kSector) {
        const std::uint8_t* at = target->bytes() + offset;
        if (std::any_of(at, at + std::min(SimFile::kSector, end - offset),
                        [](std::uint8_t byte) { return byte != 0; }))
            taken += static_cast<std::int64_t>(SimFile::kSector);
    }
    return taken;
}

int SimStorage::list(const std::filesystem::path& folder, std::vector<std::string>& names) {
    if (dead()) return -EIO;
    for (const auto& [name, file] : names_)
        if (std::filesystem::path(name).parent_path() == folder)
            names.push_back(std::filesystem::path(name).filename());
    return 0;
}

std::int64_t SimStorage::read_cached(int fd, const iovec* vectors, unsigned count,
                                     std::uint64_t offset, bool) {
    if (percent(faults.miss)) return -EAGAIN;
    if (percent(faults.read_error)) return -EIO;
    return read_some(fd, vectors, count, offset);
}

std::int64_t SimStorage::write(int fd, const iovec* vectors, unsigned count, std::uint64_t offset) {
    if (dead()) return -EIO;
    if (percent(faults.write_error)) return -EIO;
    if (percent(faults.full)) return -ENOSPC;
    const auto target = file(fd);
    std::int64_t total = 0;
    for (unsigned i = 0; i < count; ++i) {
        std::uint64_t length = vectors[i].iov_len;
        const bool cut = length > 1 && percent(faults.short_io);
        if (cut) length = 1 + random_() % (length - 1);
        if (offset + length > SimFile::kCapacity) return -ENOSPC;
        target->write(offset, static_cast<const std::uint8_t*>(vectors[i].iov_base), length);
        total += static_cast<std::int64_t>(length);
        offset += length;
        if (cut) break;
    }
    return total;
}

int SimStorage::allocate(int fd, std::uint64_t offset, std::uint64_t length) {
    if (dead()) return -EIO;
    if (percent(faults.full) || offset + length > SimFile::kCapacity) return -ENOSPC;
    const auto target = file(fd);
    if (offset + length > target->size()) target->resize(offset + length);
    return 0;
}

std::uint8_t* SimStorage::map(int fd, std::uint64_t) {
    return map_files ? file(fd)->bytes() : nullptr;
}

int SimStorage::rename(const std::filesystem::path& from, const std::filesystem::path& to) {
    if (dead()) return -EIO;
    const auto found = names_.find(from.string());
    if (found == names_.end()) return -ENOENT;
    const auto moved = found->second;
    names_.erase(found);
    names_[to.string()] = moved;
    names_changed();
    return 0;
}

int SimStorage::link(const std::filesystem::path& file, const std::filesystem::path& name) {
    if (dead()) return -EIO;
    const auto found = names_.find(file.string());
    if (found == names_.end()) return -ENOENT;
    if (!names_.emplace(name.string(), found->second).second) return -EEXIST;
    names_changed();
    return 0;
}

int SimStorage::remove(const std::filesystem::path& path) {
    if (dead()) return -EIO;
    if (names_.erase(path.string()) > 0) names_changed();
    return 0;
}

std::int64_t SimStorage::perform(const reactor::IoOperation& operation) {
    switch (operation.kind) {
        case reactor::IoOperation::Kind::read:
            if (percent(faults.read_error)) return -EIO;
            if (percent(faults.short_io)) return -EAGAIN;
            return read_some(operation.fd, operation.vectors, operation.vector_count,
                             operation.offset_bytes);
        case reactor::IoOperation::Kind::write:
            return write(operation.fd, operation.vectors, operation.vector_count,
                         operation.offset_bytes);
        case reactor::IoOperation::Kind::data_sync:
            return sync(operation.fd);
        case reactor::IoOperation::Kind::full_sync:
            return sync_folder(operation.fd);
    }
    return -EINVAL;
}

// ---- The ring

void SimRing::complete_one() {
    if (queue_.empty()) return;
    const auto which = random_() % queue_.size();
    reactor::IoOperation* operation = queue_[which];
    queue_.erase(queue_.begin() + static_cast<std::ptrdiff_t>(which));
    operation->result = storage_.perform(*operation);
    operation->complete(*operation);
}

void SimRing::abandon_all() {
    for (const auto* operation : queue_)
        if (random_() % 2 == 0) (void)storage_.perform(*operation);
    queue_.clear();
}

void SimRing::abandon_done() {
    for (const auto* operation : queue_) (void)storage_.perform(*operation);
    queue_.clear();
}

}  // namespace goldlink::sim
