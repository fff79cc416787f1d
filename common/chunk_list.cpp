#include "common/chunk_list.hpp"

#include <algorithm>
#include <cstring>

#include "common/check.hpp"

namespace goldlink {

namespace {

constexpr Digest kZero{};
constexpr std::size_t kPartBytes = ChunkList::kPartChunks * sizeof(Digest);

bool only_zeros(Bytes bytes) {
    return bytes.empty() ||
           (bytes[0] == 0 && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

}  // namespace

ChunkList::ChunkList(const ChunkList& other) : size_(other.size_) {
    parts_.reserve(other.parts_.size());
    for (const auto& part : other.parts_)
        parts_.push_back(part ? std::make_unique<Part>(*part) : nullptr);
}

ChunkList& ChunkList::operator=(const ChunkList& other) {
    if (this != &other) *this = ChunkList(other);
    return *this;
}

bool ChunkList::operator==(const ChunkList& other) const {
    if (size_ != other.size_) return false;
    for (std::size_t part = 0; part < parts_.size(); ++part) {
        const Bytes mine = part_bytes(part), theirs = other.part_bytes(part);
        if (mine.empty()
                ? !only_zeros(theirs)
                : (theirs.empty() ? !only_zeros(mine)
                                  : std::memcmp(mine.data(), theirs.data(), mine.size()) != 0))
            return false;
    }
    return true;
}

void ChunkList::resize(std::size_t size) {
    // What is cut off must be zeros if the list grows again.
    if (size < size_ && size % kPartChunks != 0)
        if (auto& last = parts_[size / kPartChunks])
            std::fill(last->begin() + static_cast<std::ptrdiff_t>(size % kPartChunks), last->end(),
                      kZero);
    parts_.resize((size + kPartChunks - 1) / kPartChunks);
    size_ = size;
}

const Digest& ChunkList::operator[](std::size_t chunk) const {
    CHECK(chunk < size_, "a chunk past the end of its list was asked for");
    const auto& part = parts_[chunk / kPartChunks];
    return part ? (*part)[chunk % kPartChunks] : kZero;
}

void ChunkList::set(std::size_t chunk, const Digest& digest) {
    CHECK(chunk < size_, "a chunk past the end of its list was set");
    auto& part = parts_[chunk / kPartChunks];
    if (!part) {
        if (is_zero(digest)) return;
        part = std::make_unique<Part>();
    }
    (*part)[chunk % kPartChunks] = digest;
}

void ChunkList::push_back(const Digest& digest) {
    resize(size_ + 1);
    set(size_ - 1, digest);
}

void ChunkList::read_bytes(std::size_t offset, std::span<std::uint8_t> into) const {
    CHECK(offset + into.size() <= size_ * sizeof(Digest), "bytes past the end of a list of chunks");
    for (std::size_t done = 0; done < into.size();) {
        const std::size_t in_part = (offset + done) % kPartBytes;
        const std::size_t run = std::min(into.size() - done, kPartBytes - in_part);
        if (const auto& part = parts_[(offset + done) / kPartBytes])
            std::memcpy(into.data() + done, part->data()->data() + in_part, run);
        else
            std::memset(into.data() + done, 0, run);
        done += run;
    }
}

void ChunkList::write_bytes(std::size_t offset, Bytes bytes) {
    CHECK(offset + bytes.size() <= size_ * sizeof(Digest),
          "bytes past the end of a list of chunks");
    for (std::size_t done = 0; done < bytes.size();) {
        const std::size_t in_part = (offset + done) % kPartBytes;
        const Bytes run = bytes.subspan(done, std::min(bytes.size() - done, kPartBytes - in_part));
        auto& part = parts_[(offset + done) / kPartBytes];
        done += run.size();
        if (!part && only_zeros(run)) continue;
        if (!part) part = std::make_unique<Part>();
        std::memcpy(part->data()->data() + in_part, run.data(), run.size());
    }
}

std::size_t ChunkList::chunks_in_part(std::size_t part) const {
    return std::min(kPartChunks, size_ - part * kPartChunks);
}

Bytes ChunkList::part_bytes(std::size_t part) const {
    if (!parts_[part]) return {};
    return {parts_[part]->data()->data(), chunks_in_part(part) * sizeof(Digest)};
}

std::size_t ChunkList::skip_zeros(std::size_t chunk) const {
    std::size_t part = chunk / kPartChunks;
    if (part < parts_.size() && parts_[part]) return std::min(chunk, size_);
    while (part < parts_.size() && !parts_[part]) ++part;
    return std::min(part * kPartChunks, size_);
}

}  // namespace goldlink
