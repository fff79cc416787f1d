#include "target/disk/slots.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "common/check.hpp"
#include "target/disk/overlay_map.hpp"

namespace goldlink::disk {

namespace {
constexpr std::uint64_t kRamStepBytes = 512ull << 10;  // tmpfs clears what it gives: keep it short
constexpr std::uint64_t kMinStepBytes = 1ull << 20;
constexpr std::uint64_t kMaxStepBytes = 64ull << 20;
}  // namespace

Result<std::unique_ptr<Slots>> Slots::open(store::Storage& storage, const Options& options) {
    std::unique_ptr<Slots> slots(new Slots(storage, options));
    GOLDLINK_TRY(slots->open_file(slots->disk_, options.folder / "slots"));
    if (options.ram_slots > 0) {
        GOLDLINK_TRY(slots->open_file(slots->ram_, options.ram_folder / "slots-ram"));
        if (slots->ram_.memory_backed) {
            slots->ram_.mapped_bytes = std::uint64_t{options.ram_slots} * kBlockBytes;
            slots->ram_.mapped = storage.map(slots->ram_.fd, slots->ram_.mapped_bytes);
            if (slots->ram_.mapped != nullptr)
                slots->ram_guard_ = std::make_unique<store::MemoryGuard>(slots->ram_.mapped,
                                                                         slots->ram_.mapped_bytes);
        }
    }
    return slots;
}

Slots::~Slots() {
    ram_guard_.reset();
    for (const File* file : {&ram_, &disk_}) {
        if (file->mapped != nullptr) storage_.unmap(file->mapped, file->mapped_bytes);
        if (file->fd >= 0) storage_.close(file->fd);
    }
}

Failure Slots::missing(const std::filesystem::path& file) {
    return failure(ErrorKind::not_found,
                   fmt::format("the overlay's file {} is missing; mount its disk or restore it, or "
                               "reset the link, which begins an empty disk",
                               file.string()));
}

Result<> Slots::open_file(File& file, const std::filesystem::path& path) {
    file.fd = storage_.open(path, options_.empty);
    if (file.fd < 0) {
        const int error = -std::exchange(file.fd, -1);
        if (error == ENOENT) return missing(path);
        return system_failure(fmt::format("cannot open {}", path.string()), error);
    }
    if (options_.empty) {
        if (const int error = storage_.truncate(file.fd, 0); error < 0)
            return system_failure(fmt::format("cannot empty {}", path.string()), -error);
    }
    const std::int64_t size = storage_.size(file.fd);
    if (size < 0)
        return system_failure(fmt::format("cannot examine {}", path.string()),
                              static_cast<int>(-size));
    file.allocated_bytes = static_cast<std::uint64_t>(size) / kBlockBytes * kBlockBytes;
    file.memory_backed = storage_.memory_backed(file.fd);
    return {};
}

bool Slots::grow(File& file, std::uint64_t needed_bytes, std::uint64_t step, std::uint64_t reserve,
                 const std::filesystem::path& folder) {
    if (needed_bytes <= file.allocated_bytes) return true;
    const std::uint64_t free = storage_.space(folder).free_bytes;
    const std::uint64_t spare = free > reserve ? free - reserve : 0;
    if (&file == &disk_) spare_bytes_ = spare;
    // Near the end take what is needed and no more.
    for (const std::uint64_t length : {step, needed_bytes - file.allocated_bytes}) {
        if (length > spare || file.allocated_bytes + length < needed_bytes) continue;
        if (storage_.allocate(file.fd, file.allocated_bytes, length) < 0) continue;
        file.allocated_bytes += length;
        return true;
    }
    return false;
}

std::uint64_t Slots::disk_step() const {
    return std::clamp(disk_.allocated_bytes / 4 / kBlockBytes * kBlockBytes, kMinStepBytes,
                      kMaxStepBytes);
}

std::optional<std::uint32_t> Slots::take() {
    if (const auto slot = ram_free_.take()) {
        const std::uint64_t end = (std::uint64_t{*slot} + 1) * kBlockBytes;
        const std::uint64_t limit = std::uint64_t{ram_slots_} * kBlockBytes;
        const std::uint64_t step =
            std::min(kRamStepBytes, limit - std::min(limit, ram_.allocated_bytes));
        if (grow(ram_, end, step, 0, options_.ram_folder)) return slot;
        // The RAM filesystem is full before the budget is: go on with the disk. The slot that has
        // no room stays taken, so that nobody asks for it again.
        ram_free_.lower_limit(0);
    }
    const auto slot = disk_free_.take();
    if (!slot) return std::nullopt;
    if (grow(disk_, (std::uint64_t{*slot} + 1) * kBlockBytes, disk_step(), options_.reserve_bytes,
             options_.folder))
        return *slot + ram_slots_;
    disk_free_.release(*slot);
    return std::nullopt;
}

void Slots::release(std::uint32_t slot) {
    if (slot < ram_slots_)
        ram_free_.release(slot);
    else
        disk_free_.release(slot - ram_slots_);
}

bool Slots::mark_taken(std::uint32_t slot) {
    // While flushes are under way more slots are taken than the disk has blocks, but not that many.
    const std::uint64_t most = 4 * options_.disk_blocks + (1u << 20);
    const std::uint32_t number = number_of(slot);
    if (number >= most && is_past_end(slot)) return false;
    return (slot < ram_slots_ ? ram_free_ : disk_free_).mark_taken(number);
}

bool Slots::is_past_end(std::uint32_t slot) const {
    const File& file = slot < ram_slots_ ? ram_ : disk_;
    return (std::uint64_t{number_of(slot)} + 1) * kBlockBytes > file.allocated_bytes;
}

SlotPlace Slots::place(std::uint32_t slot) const {
    const bool in_ram = slot < ram_slots_;
    const File& file = in_ram ? ram_ : disk_;
    const std::uint64_t offset = std::uint64_t{in_ram ? slot : slot - ram_slots_} * kBlockBytes;
    return {file.fd, offset, file.mapped == nullptr ? nullptr : file.mapped + offset,
            file.memory_backed};
}

void Slots::hold() {
    holding_ = true;
    held_ram_ = ram_free_.taken_bits();
    held_disk_ = disk_free_.taken_bits();
}

void Slots::let_go() {
    holding_ = false;
    held_ram_.clear();
    held_disk_.clear();
}

bool Slots::is_held(std::uint32_t slot) const {
    if (!holding_) return false;
    const auto& bits = slot < ram_slots_ ? held_ram_ : held_disk_;
    const std::uint32_t number = slot < ram_slots_ ? slot : slot - ram_slots_;
    return number / 64 < bits.size() && (bits[number / 64] >> (number % 64) & 1) != 0;
}

Result<> Slots::read(std::uint32_t slot, std::uint8_t* data, std::uint32_t count) const {
    const SlotPlace where = place(slot);
    const std::size_t length = std::size_t{count} * kBlockBytes;
    for (std::size_t done = 0; done < length;) {
        const std::int64_t n =
            storage_.read(where.fd, data + done, length - done, where.offset_bytes + done);
        if (n < 0) return system_failure("cannot read an overlay's slot", static_cast<int>(-n));
        if (n == 0) return failure(ErrorKind::corrupt, "an overlay's slots file is cut short");
        done += static_cast<std::size_t>(n);
    }
    return {};
}

Result<> Slots::write(std::uint32_t slot, std::uint8_t* data) {
    const SlotPlace where = place(slot);
    for (std::size_t done = 0; done < kBlockBytes;) {
        const iovec vector{data + done, kBlockBytes - done};
        const std::int64_t n = storage_.write(where.fd, &vector, 1, where.offset_bytes + done);
        if (n <= 0) return system_failure("cannot write an overlay's slot", static_cast<int>(-n));
        done += static_cast<std::size_t>(n);
    }
    return {};
}

std::uint64_t Slots::ram_bytes() const { return std::uint64_t{ram_free_.taken()} * kBlockBytes; }

}  // namespace goldlink::disk
