// OverlayMap: where each 4 KiB block of a link's disk is: in the base version (the default), in an
// overlay slot, or nowhere because it is zero. Pure; one thread.
//
// Leaves of 1,024 entries (4 MiB of disk, 4 KiB of memory) are made at the first entry that is not
// the default; a leaf of zeros alone, what a large UNMAP makes, is one shared marker.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

namespace goldlink::disk {

inline constexpr std::uint32_t kBlockBytes = 4096;

class BlockState {
  public:
    static constexpr BlockState base() { return BlockState(0); }
    static constexpr BlockState zero() { return BlockState(0xffffffffu); }
    static constexpr BlockState in_slot(std::uint32_t slot) { return BlockState(slot + 1); }
    constexpr BlockState() = default;

    constexpr bool is_base() const { return raw_ == 0; }
    constexpr bool is_zero() const { return raw_ == 0xffffffffu; }
    constexpr bool has_slot() const { return !is_base() && !is_zero(); }
    constexpr std::uint32_t slot() const { return raw_ - 1; }
    constexpr bool operator==(const BlockState&) const = default;

  private:
    explicit constexpr BlockState(std::uint32_t raw) : raw_(raw) {}
    std::uint32_t raw_ = 0;
};

inline constexpr std::uint32_t kMaxSlots = 0xfffffffeu;

class FrozenMap;

class OverlayMap {
  public:
    static constexpr std::uint32_t kLeafBlocks = 1024;
    using Leaf = std::array<BlockState, kLeafBlocks>;

    explicit OverlayMap(std::uint32_t block_count);
    OverlayMap(const OverlayMap&) = delete;
    OverlayMap& operator=(const OverlayMap&) = delete;
    ~OverlayMap();

    std::uint32_t block_count() const { return block_count_; }
    BlockState get(std::uint32_t block) const {
        const Leaf* leaf = leaves_[block / kLeafBlocks];
        return leaf == nullptr ? BlockState::base() : (*leaf)[block % kLeafBlocks];
    }
    void set(std::uint32_t block, BlockState state);

    // By leaf, for what goes over many blocks at once.
    std::uint32_t leaf_count() const { return static_cast<std::uint32_t>(leaves_.size()); }
    bool leaf_is_base(std::uint32_t leaf) const { return leaves_[leaf] == nullptr; }
    bool leaf_is_zero(std::uint32_t leaf) const { return leaves_[leaf] == &kZeroLeaf; }
    void set_leaf_base(std::uint32_t leaf) { drop(leaf, nullptr); }
    void set_leaf_zero(std::uint32_t leaf) { drop(leaf, &kZeroLeaf); }

    // The map as it is now, however it goes on: leaves are shared until they change, so this costs
    // a pointer a leaf. One at a time, until thaw(); any thread may read it.
    const FrozenMap& freeze();
    void thaw();

  private:
    friend class FrozenMap;
    static Leaf kZeroLeaf;
    void drop(std::uint32_t leaf, Leaf* replacement);
    bool is_frozen(std::uint32_t leaf) const;

    std::uint32_t block_count_;
    std::vector<Leaf*> leaves_;  // null: all base; &kZeroLeaf: all zero; else owned
    std::unique_ptr<FrozenMap> frozen_;
};

// Owned by its OverlayMap, and with it the leaves that the map has no more.
class FrozenMap {
  public:
    std::uint32_t block_count() const { return block_count_; }
    BlockState get(std::uint32_t block) const {
        const OverlayMap::Leaf* leaf = leaves_[block / OverlayMap::kLeafBlocks];
        return leaf == nullptr ? BlockState::base() : (*leaf)[block % OverlayMap::kLeafBlocks];
    }
    bool leaf_is_base(std::uint32_t leaf) const { return leaves_[leaf] == nullptr; }

  private:
    friend class OverlayMap;
    std::uint32_t block_count_ = 0;
    std::vector<OverlayMap::Leaf*> leaves_;
};

}  // namespace goldlink::disk
