#include "target/store/packs.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace goldlink::store {

namespace {

off_t offset_of(std::uint64_t slot) {
    return static_cast<off_t>((slot % kSlotsPerPack) * kChunkBytes);
}

}  // namespace

std::filesystem::path Packs::path_of(std::uint64_t pack_number) const {
    return folder_ / fmt::format("{:08x}.pack", pack_number);
}

Result<std::shared_ptr<const PackFile>> Packs::pack_of_slot(std::uint64_t slot, bool create) {
    const std::uint64_t number = slot / kSlotsPerPack;
    if (number > 0xffffffffu)
        return failure(ErrorKind::corrupt, fmt::format("slot {} is outside of every pack", slot));
    const std::lock_guard lock(mutex_);
    if (number < open_.size() && open_[number]) return open_[number];
    const auto path = path_of(number);
    auto pack = std::make_shared<PackFile>();
    pack->write =
        FileDescriptor(::open(path.c_str(), O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0), 0644));
    if (!pack->write) return system_failure(fmt::format("cannot open pack {}", path.string()));
    pack->read = FileDescriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!pack->read) return system_failure(fmt::format("cannot open pack {}", path.string()));
    if (create) {  // its name must be as durable as what will be in it
        FileDescriptor folder(::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (!folder || ::fsync(folder.get()) != 0)
            return system_failure(fmt::format("cannot sync folder {}", folder_.string()));
    }
    pack->memory = resident_->map(pack->read.get());
    if (number >= open_.size()) open_.resize(number + 1);
    open_[number] = pack;
    return open_[number];
}

Result<> Packs::write(std::uint64_t slot, const std::uint8_t* chunk) {
    GOLDLINK_TRY_ASSIGN(const auto pack, pack_of_slot(slot, true));
    for (std::uint64_t done = 0; done < kChunkBytes;) {
        const ssize_t n = ::pwrite(pack->write.get(), chunk + done, kChunkBytes - done,
                                   offset_of(slot) + static_cast<off_t>(done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            return system_failure(
                errno == ENOSPC
                    ? fmt::format("the filesystem of {} is full; remove versions or add space",
                                  folder_.string())
                    : fmt::format("cannot write pack {}", path_of(slot / kSlotsPerPack).string()));
        done += static_cast<std::uint64_t>(n);
    }
    return {};
}

Result<> Packs::read(std::uint64_t slot, std::uint8_t* chunk) {
    GOLDLINK_TRY_ASSIGN(const auto pack, pack_of_slot(slot, false));
    for (std::uint64_t done = 0; done < kChunkBytes;) {
        const ssize_t n = ::pread(pack->read.get(), chunk + done, kChunkBytes - done,
                                  offset_of(slot) + static_cast<off_t>(done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            return system_failure(
                fmt::format("cannot read pack {}", path_of(slot / kSlotsPerPack).string()));
        if (n == 0)
            return failure(ErrorKind::corrupt, fmt::format("pack {} ends before its slot {}",
                                                           path_of(slot / kSlotsPerPack).string(),
                                                           slot % kSlotsPerPack));
        done += static_cast<std::uint64_t>(n);
    }
    return {};
}

Result<> Packs::sync(const std::vector<std::uint32_t>& pack_numbers) {
    for (const std::uint32_t number : pack_numbers) {
        GOLDLINK_TRY_ASSIGN(const auto pack, pack_of_slot(number * kSlotsPerPack, false));
        if (::fdatasync(pack->write.get()) != 0)
            return system_failure(fmt::format("cannot sync pack {}", path_of(number).string()));
    }
    return {};
}

Result<> Packs::punch(std::uint64_t first, std::uint64_t count) {
    while (count > 0) {
        const std::uint64_t here = std::min(count, kSlotsPerPack - first % kSlotsPerPack);
        auto pack = pack_of_slot(first, false);
        if (pack) {
            if ((*pack)->memory)
                resident_->forget(*(*pack)->memory,
                                  static_cast<std::uint32_t>(first % kSlotsPerPack),
                                  static_cast<std::uint32_t>(here));
            const int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
            // A filesystem that cannot punch keeps the space for the next chunk: nothing is lost.
            if (::fallocate((*pack)->write.get(), mode, offset_of(first),
                            static_cast<off_t>(here * kChunkBytes)) != 0 &&
                errno != EOPNOTSUPP)
                return system_failure(fmt::format("cannot give back space of pack {}",
                                                  path_of(first / kSlotsPerPack).string()));
        } else if (pack.error().kind != ErrorKind::not_found) {
            return Failure(std::move(pack).error());
        }
        first += here;
        count -= here;
    }
    return {};
}

Result<> Packs::truncate_from(std::uint64_t slot) {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
        const std::string name = entry.path().filename();
        if (name.size() != 13 || !name.ends_with(".pack")) continue;
        const std::uint64_t number = std::strtoull(name.c_str(), nullptr, 16);
        const std::uint64_t first = number * kSlotsPerPack;
        if (first + kSlotsPerPack <= slot) continue;
        if (first >= slot) {
            const std::lock_guard lock(mutex_);
            if (number < open_.size()) open_[number] = nullptr;
            if (::unlink(entry.path().c_str()) != 0)
                return system_failure(fmt::format("cannot remove pack {}", entry.path().string()));
        } else if (::truncate(entry.path().c_str(), offset_of(slot)) != 0) {
            return system_failure(fmt::format("cannot shorten pack {}", entry.path().string()));
        }
    }
    if (error)
        return system_failure(fmt::format("cannot list {}", folder_.string()), error.value());
    return {};
}

}  // namespace goldlink::store
