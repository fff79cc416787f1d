#include "target/disk/overlay_map.hpp"

#include "common/check.hpp"

namespace goldlink::disk {

namespace {
OverlayMap::Leaf make_zero_leaf() {
    OverlayMap::Leaf leaf;
    leaf.fill(BlockState::zero());
    return leaf;
}
}  // namespace

OverlayMap::Leaf OverlayMap::kZeroLeaf = make_zero_leaf();

OverlayMap::OverlayMap(std::uint32_t block_count)
    : block_count_(block_count),
      leaves_((std::size_t{block_count} + kLeafBlocks - 1) / kLeafBlocks, nullptr) {}

OverlayMap::~OverlayMap() {
    thaw();
    for (std::uint32_t i = 0; i < leaf_count(); ++i) drop(i, nullptr);
}

void OverlayMap::set(std::uint32_t block, BlockState state) {
    CHECK(block < block_count_, "a block past the end of its disk is set");
    Leaf*& leaf = leaves_[block / kLeafBlocks];
    if (leaf == nullptr) {
        if (state.is_base()) return;
        leaf = new Leaf{};
    } else if (leaf == &kZeroLeaf) {
        if (state.is_zero()) return;
        leaf = new Leaf(kZeroLeaf);
    } else if (is_frozen(block / kLeafBlocks)) {
        leaf = new Leaf(*leaf);
    }
    (*leaf)[block % kLeafBlocks] = state;
}

void OverlayMap::drop(std::uint32_t leaf, Leaf* replacement) {
    if (leaves_[leaf] != &kZeroLeaf && !is_frozen(leaf)) delete leaves_[leaf];
    leaves_[leaf] = replacement;
}

bool OverlayMap::is_frozen(std::uint32_t leaf) const {
    return frozen_ && frozen_->leaves_[leaf] == leaves_[leaf];
}

const FrozenMap& OverlayMap::freeze() {
    CHECK(!frozen_, "a map is frozen once at a time");
    frozen_ = std::make_unique<FrozenMap>();
    frozen_->block_count_ = block_count_;
    frozen_->leaves_ = leaves_;
    return *frozen_;
}

void OverlayMap::thaw() {
    if (!frozen_) return;
    for (std::uint32_t i = 0; i < leaf_count(); ++i)
        if (!is_frozen(i) && frozen_->leaves_[i] != &kZeroLeaf) delete frozen_->leaves_[i];
    frozen_.reset();
}

}  // namespace goldlink::disk
