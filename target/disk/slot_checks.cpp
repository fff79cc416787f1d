#include "target/disk/slot_checks.hpp"

namespace goldlink::disk {

SlotChecks::View SlotChecks::view() const {
    View view;
    view.pages_.reserve(pages_.size());
    for (const auto& page : pages_) view.pages_.push_back(page.get());
    return view;
}

std::uint32_t SlotChecks::crc_of(std::uint32_t slot) const {
    const std::size_t page = slot / kPageSlots;
    if (page >= pages_.size() || !pages_[page]) return 0;
    return pages_[page]->crcs[slot % kPageSlots].load(std::memory_order_relaxed);
}

void SlotChecks::store(std::uint32_t slot, std::uint32_t crc) {
    const std::size_t page = slot / kPageSlots;
    if (page >= pages_.size()) pages_.resize(page + 1);
    if (!pages_[page]) pages_[page] = std::make_unique<Page>();
    pages_[page]->crcs[slot % kPageSlots].store(crc, std::memory_order_relaxed);
}

void SlotChecks::set(Bits& bits, std::uint64_t& count, std::uint32_t slot) {
    if (has(bits, slot)) return;
    if (slot / 64 >= bits.size()) bits.resize(slot / 64 + 64);
    bits[slot / 64] |= 1ull << (slot % 64);
    ++count;
}

void SlotChecks::clear(Bits& bits, std::uint64_t& count, std::uint32_t slot) {
    if (!has(bits, slot)) return;
    bits[slot / 64] &= ~(1ull << (slot % 64));
    --count;
}

void SlotChecks::written(std::uint32_t slot, std::uint32_t crc) {
    store(slot, crc);
    if (!all_good()) freed(slot);
}

void SlotChecks::expected(std::uint32_t slot, std::uint32_t crc) {
    store(slot, crc);
    clear(bad_bits_, bad_, slot);
    set(unchecked_bits_, unchecked_, slot);
}

void SlotChecks::condemned(std::uint32_t slot) {
    clear(unchecked_bits_, unchecked_, slot);
    set(bad_bits_, bad_, slot);
}

void SlotChecks::freed(std::uint32_t slot) {
    clear(unchecked_bits_, unchecked_, slot);
    clear(bad_bits_, bad_, slot);
}

bool SlotChecks::judge(std::uint32_t slot, std::uint32_t crc) {
    const std::uint32_t wanted = crc_of(slot);
    if (wanted == 0) store(slot, crc);
    if (wanted != 0 && wanted != crc) {
        condemned(slot);
        return false;
    }
    freed(slot);
    return true;
}

}  // namespace goldlink::disk
