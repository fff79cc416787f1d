// SlotChecks: what each slot of a durable overlay must hold, by CRC32C, and how far that is known.
// A slot that this process wrote is good; one that a journal speaks of is unchecked until somebody
// has read it whole; one that does not hold what it should is bad, and nobody is given it.
//
// 4 bytes a slot in pages made on first use (1 MiB per GiB written), and a bit each for unchecked
// and bad. A CRC of 0 means that it is not known (journals written before CRCs were carried over
// checkpoints): the first look at such a slot takes what is there for right.
//
// One thread, but crc_of() of a View: any, for slots that nobody writes to meanwhile.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

namespace goldlink::disk {

class SlotChecks {
  public:
    static constexpr std::uint32_t kPageSlots = 4096;
    struct Page {
        std::array<std::atomic<std::uint32_t>, kPageSlots> crcs{};
    };

    // The CRCs as of now, of slots that are held (Slots::hold).
    class View {
      public:
        std::uint32_t crc_of(std::uint32_t slot) const {
            const std::size_t page = slot / kPageSlots;
            if (page >= pages_.size() || pages_[page] == nullptr) return 0;
            return pages_[page]->crcs[slot % kPageSlots].load(std::memory_order_relaxed);
        }

      private:
        friend class SlotChecks;
        std::vector<const Page*> pages_;
    };
    View view() const;

    std::uint32_t crc_of(std::uint32_t slot) const;
    void written(std::uint32_t slot, std::uint32_t crc);   // by this process: good
    void expected(std::uint32_t slot, std::uint32_t crc);  // a journal says so: unchecked
    void condemned(std::uint32_t slot);                    // it cannot be right: bad
    void freed(std::uint32_t slot);                        // of no interest any more

    // Nothing is unchecked or bad: what every read asks first.
    bool all_good() const { return unchecked_ == 0 && bad_ == 0; }
    bool is_unchecked(std::uint32_t slot) const { return has(unchecked_bits_, slot); }
    bool is_bad(std::uint32_t slot) const { return has(bad_bits_, slot); }
    std::uint64_t unchecked_count() const { return unchecked_; }
    std::uint64_t bad_count() const { return bad_; }

    // What was read of a whole slot, by its CRC: whether it is right, which is noted.
    bool judge(std::uint32_t slot, std::uint32_t crc);

  private:
    using Bits = std::vector<std::uint64_t>;
    static bool has(const Bits& bits, std::uint32_t slot) {
        return slot / 64 < bits.size() && (bits[slot / 64] >> (slot % 64) & 1) != 0;
    }
    static void set(Bits& bits, std::uint64_t& count, std::uint32_t slot);
    static void clear(Bits& bits, std::uint64_t& count, std::uint32_t slot);
    void store(std::uint32_t slot, std::uint32_t crc);

    std::vector<std::unique_ptr<Page>> pages_;
    Bits unchecked_bits_, bad_bits_;
    std::uint64_t unchecked_ = 0, bad_ = 0;
};

}  // namespace goldlink::disk
