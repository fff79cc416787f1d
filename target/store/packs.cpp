#include "target/store/packs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <set>

#include "target/store/unusable_file.hpp"

namespace goldlink::store {

namespace {

std::uint64_t offset_of(std::uint64_t slot) { return (slot % kSlotsPerPack) * kChunkBytes; }

}  // namespace

std::filesystem::path Packs::path_of(std::uint64_t pack_number) const {
    return folder_ / fmt::format("{:08x}.pack", pack_number);
}

PackFile::~PackFile() {
    memory.reset();
    for (const int fd : {read, write})
        if (fd >= 0) storage.close(fd);
}

Result<std::shared_ptr<const PackFile>> Packs::pack_of_slot(std::uint64_t slot, bool create) {
    const std::uint64_t number = slot / kSlotsPerPack;
    if (number > 0x7fffffffu)  // the highest bit of a location says that it is none
        return failure(ErrorKind::corrupt, fmt::format("slot {} is outside of every pack", slot));
    const std::lock_guard lock(mutex_);
    if (number >= open_.size()) open_.resize(number + 1);
    OpenPack& open = open_[number];
    if (!open.pack) {
        GOLDLINK_TRY_ASSIGN(open.pack, open_pack(number, create));
    }
    // Its name must be as durable as what will be in it; whoever made it may have failed at that.
    if (create && !open.name_synced) {
        GOLDLINK_TRY(sync_folder(storage_, folder_));
        open.name_synced = true;
    }
    return open.pack;
}

Result<std::shared_ptr<const PackFile>> Packs::open_pack(std::uint64_t number, bool create) {
    const auto path = path_of(number);
    const auto refused = [&](int error) { return unusable_file("pack", path, -error); };
    auto pack = std::make_shared<PackFile>(storage_);
    pack->write = storage_.open(path, create);
    if (pack->write < 0) return refused(pack->write);
    pack->read = storage_.open_read_only(path);
    if (pack->read < 0) return refused(pack->read);
    pack->memory = resident_->map(pack->read);
    return pack;
}

Result<> Packs::write(std::uint64_t slot, const std::uint8_t* chunk) {
    GOLDLINK_TRY_ASSIGN(const auto pack, pack_of_slot(slot, true));
    const int error = write_all(storage_, pack->write, chunk, kChunkBytes, offset_of(slot));
    if (error == -ENOSPC || error == -EDQUOT)
        return system_failure(fmt::format("the filesystem of {} is full; remove versions or add "
                                          "space",
                                          folder_.string()),
                              -error);
    if (error < 0)
        return system_failure(
            fmt::format("cannot write pack {}", path_of(slot / kSlotsPerPack).string()), -error);
    return {};
}

Result<> Packs::read(std::uint64_t slot, std::uint8_t* chunk) {
    GOLDLINK_TRY_ASSIGN(const auto pack, pack_of_slot(slot, false));
    for (std::uint64_t done = 0; done < kChunkBytes;) {
        const std::int64_t n =
            storage_.read(pack->read, chunk + done, kChunkBytes - done, offset_of(slot) + done);
        if (n < 0)
            return system_failure(
                fmt::format("cannot read pack {}", path_of(slot / kSlotsPerPack).string()),
                static_cast<int>(-n));
        if (n == 0)
            return failure(ErrorKind::corrupt, fmt::format("pack {} ends before its slot {}",
                                                           path_of(slot / kSlotsPerPack).string(),
                                                           slot % kSlotsPerPack));
        done += static_cast<std::uint64_t>(n);
    }
    return {};
}

Result<> Packs::sync(const std::vector<std::uint64_t>& slots) {
    std::set<std::uint64_t> numbers;
    for (const std::uint64_t slot : slots) numbers.insert(slot / kSlotsPerPack);
    for (const std::uint64_t number : numbers) {
        GOLDLINK_TRY_ASSIGN(const auto pack, pack_of_slot(number * kSlotsPerPack, false));
        if (const int error = storage_.sync(pack->write); error < 0)
            return system_failure(fmt::format("cannot sync pack {}", path_of(number).string()),
                                  -error);
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
            // A filesystem that cannot punch keeps the space for the next chunk: nothing is lost.
            const int error = storage_.punch((*pack)->write, offset_of(first), here * kChunkBytes);
            if (error < 0 && error != -EOPNOTSUPP)
                return system_failure(fmt::format("cannot give back space of pack {}",
                                                  path_of(first / kSlotsPerPack).string()),
                                      -error);
        } else if (pack.error().kind != ErrorKind::not_found) {
            return Failure(std::move(pack).error());
        }
        first += here;
        count -= here;
    }
    return {};
}

std::string Packs::trouble_with(std::uint64_t pack_number, std::uint64_t slots_needed) {
    const auto pack = pack_of_slot(pack_number * kSlotsPerPack, false);
    if (!pack) return pack.error().message;
    const std::int64_t size = storage_.size((*pack)->read);
    if (size < static_cast<std::int64_t>(slots_needed * kChunkBytes))
        return fmt::format("pack {} is cut short: it ends after {} bytes of at least {}",
                           path_of(pack_number).string(), std::max<std::int64_t>(size, 0),
                           slots_needed * kChunkBytes);
    return fmt::format("pack {} was missing or cut short; what is in it now was not verified yet",
                       path_of(pack_number).string());
}

PackMemory* Packs::memory_of(std::uint64_t slot) {
    const auto pack = pack_of_slot(slot, false);
    return pack ? (*pack)->memory.get() : nullptr;
}

void Packs::forget_resident(std::uint64_t slot) {
    if (PackMemory* memory = memory_of(slot))
        resident_->forget(*memory, static_cast<std::uint32_t>(slot % kSlotsPerPack), 1);
}

bool Packs::pin(std::uint64_t slot) {
    PackMemory* memory = memory_of(slot);
    return memory != nullptr &&
           resident_->pin(*memory, static_cast<std::uint32_t>(slot % kSlotsPerPack));
}

void Packs::unpin(std::uint64_t slot) {
    if (PackMemory* memory = memory_of(slot))
        resident_->unpin(*memory, static_cast<std::uint32_t>(slot % kSlotsPerPack));
}

Result<std::uint64_t> Packs::taken_bytes(std::uint64_t first, std::uint64_t count) {
    const auto pack = pack_of_slot(first, false);
    if (!pack) return 0;  // why it cannot be opened is its own trouble
    const std::int64_t taken =
        storage_.taken_bytes((*pack)->read, offset_of(first), count * kChunkBytes);
    if (taken == -EOPNOTSUPP || taken == -EINVAL) return 0;
    if (taken < 0)
        return system_failure(fmt::format("cannot tell what space pack {} takes",
                                          path_of(first / kSlotsPerPack).string()),
                              static_cast<int>(-taken));
    return static_cast<std::uint64_t>(taken);
}

Result<std::vector<std::string>> Packs::file_names() {
    std::vector<std::string> names;
    if (const int error = storage_.list(folder_, names); error < 0)
        return system_failure(fmt::format("cannot list {}", folder_.string()), -error);
    std::erase_if(names, [](const std::string& name) {
        return name.size() != 13 || !name.ends_with(".pack");
    });
    return names;
}

Result<std::vector<LeftFile>> Packs::files_beyond(std::uint64_t slot) {
    GOLDLINK_TRY_ASSIGN(const auto names, file_names());
    std::vector<LeftFile> beyond;
    for (const std::string& name : names) {
        if (std::strtoull(name.c_str(), nullptr, 16) * kSlotsPerPack < slot) continue;
        const int fd = storage_.open_read_only(folder_ / name);
        if (fd < 0) continue;
        const std::int64_t taken = storage_.taken_bytes(fd, 0, kSlotsPerPack * kChunkBytes);
        storage_.close(fd);
        beyond.push_back({name, static_cast<std::uint64_t>(std::max<std::int64_t>(taken, 0))});
    }
    std::sort(beyond.begin(), beyond.end(),
              [](const LeftFile& a, const LeftFile& b) { return a.name < b.name; });
    return beyond;
}

Result<> Packs::truncate_from(std::uint64_t slot) {
    GOLDLINK_TRY_ASSIGN(const auto names, file_names());
    for (const std::string& name : names) {
        const std::uint64_t number = std::strtoull(name.c_str(), nullptr, 16);
        const std::uint64_t first = number * kSlotsPerPack;
        if (first + kSlotsPerPack <= slot) continue;
        if (first >= slot) {
            const std::lock_guard lock(mutex_);
            if (number < open_.size()) open_[number] = {};
            if (const int error = storage_.remove(folder_ / name); error < 0)
                return system_failure(
                    fmt::format("cannot remove pack {}", (folder_ / name).string()), -error);
            continue;
        }
        const int fd = storage_.open(folder_ / name, false);
        const int error = fd < 0 ? fd : storage_.truncate(fd, offset_of(slot));
        if (fd >= 0) storage_.close(fd);
        if (error < 0)
            return system_failure(fmt::format("cannot shorten pack {}", (folder_ / name).string()),
                                  -error);
    }
    return {};
}

}  // namespace goldlink::store
