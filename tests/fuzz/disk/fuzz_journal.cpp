// The journal of an overlay as a hostile or broken file: whatever it says, the overlay opens or is
// refused; opened, each block can be read or is a medium error, it can be written, flushed, and
// opened again with the same content.
//
// Input: a byte of choices, a size of the slots file in blocks, then the journal: its bytes as they
// are, or 13 bytes a record (type, block, slot, CRC) that get a check of their own, so that they
// are believed.
#include <algorithm>
#include <memory>
#include <vector>

#include "common/bytes.hpp"
#include "common/check.hpp"
#include "common/log.hpp"
#include "target/disk/journal_record.hpp"
#include "target/disk/overlay_disk.hpp"
#include "tests/sim/sim_storage.hpp"

using namespace goldlink;
using namespace goldlink::disk;

namespace {

constexpr std::uint64_t kBlock = 4096;
constexpr std::uint64_t kDiskBytes = 100 * kBlock + 512;
constexpr std::uint32_t kSeed = 7;

struct ZeroVersion final : store::Version {
    const std::string& digest() const override { return digest_; }
    std::uint64_t size_bytes() const override { return kDiskBytes; }
    store::ChunkLocation location(std::uint64_t) const override { return store::kZeroChunk; }
    int pack_fd(store::ChunkLocation) const override { return -1; }

  private:
    std::string digest_ = std::string(64, 'a');
};

class Rig {
  public:
    explicit Rig(std::uint8_t choices) {
        options_.version = std::make_shared<ZeroVersion>();
        options_.policy = static_cast<Policy>(choices % 3);
        options_.folder = "/overlay";
        options_.reserve_bytes = 0;
        if ((choices & 0x10) != 0) options_.quota_bytes = 20 * kBlock;
        if (options_.policy == Policy::discard && (choices & 0x20) != 0) {
            options_.ram_folder = "/ram";
            options_.ram_budget_bytes = 10 * kBlock;
        }
        storage_.map_files = (choices & 0x40) != 0;
    }

    void plant(const char* name, Bytes content, std::uint64_t size_bytes) {
        const auto folder = options_.ram_folder.empty() ? options_.folder : options_.ram_folder;
        const int fd = storage_.open(folder / name, true);
        storage_.file(fd)->resize(size_bytes);
        if (!content.empty()) storage_.file(fd)->write(0, content.data(), content.size());
        storage_.close(fd);
    }

    JournalHeader header(bool same_boot) {
        JournalHeader header;
        header.policy = static_cast<std::uint32_t>(options_.policy);
        header.size_bytes = kDiskBytes;
        header.ram_slots = options_.ram_folder.empty() ? 0 : 10;
        header.seed = kSeed;
        header.version_digest = options_.version->digest();
        header.boot_id = same_boot ? storage_.boot_id() : "another";
        return header;
    }

    bool open() {
        auto opened = open_link_disk(options_, ring_, storage_);
        if (!opened) {
            CHECK(!opened.error().message.empty(), "a refusal that says nothing");
            return false;
        }
        disk_ = std::move(*opened);
        return true;
    }

    void close() {
        disk_->close();
        disk_.reset();
    }

    Outcome perform(Operation operation, std::uint64_t offset, std::uint64_t length,
                    std::uint8_t* data, bool atomic = false) {
        Request request;
        bool done = false;
        request.operation = operation;
        request.offset_bytes = offset;
        request.length_bytes = length;
        request.data = data;
        request.atomic = atomic;
        request.owner = &done;
        request.complete = [](Request& ended) noexcept { *static_cast<bool*>(ended.owner) = true; };
        if (disk_->submit(request) == Submit::done) return request.outcome;
        while (!done) {
            CHECK(ring_.in_flight() > 0, "a request waits for nothing");
            ring_.complete_one();
        }
        return request.outcome;
    }

    std::vector<std::uint8_t> whole() {
        std::vector<std::uint8_t> content(kDiskBytes);
        for (std::uint64_t at = 0; at < kDiskBytes; at += kBlock) {
            const std::uint64_t length = std::min(kBlock, kDiskBytes - at);
            const Outcome outcome = perform(Operation::read, at, length, content.data() + at);
            CHECK(outcome == Outcome::ok || outcome == Outcome::medium_error,
                  "a block of an overlay that opened is neither read nor bad");
            if (outcome != Outcome::ok)
                std::fill_n(content.begin() + static_cast<std::ptrdiff_t>(at), length,
                            std::uint8_t{0xee});
        }
        return content;
    }

  private:
    sim::Random random_{1};
    sim::SimStorage storage_{random_};
    sim::SimRing ring_{storage_, random_};
    LinkDiskOptions options_;
    std::unique_ptr<LinkDisk> disk_;
};

std::vector<std::uint8_t> journal(const JournalHeader& header, ByteReader input, bool raw) {
    const auto head = header.encode();
    std::vector<std::uint8_t> bytes(head.begin(), head.end());
    if (raw) {
        const Bytes rest = input.rest();
        bytes.insert(bytes.end(), rest.begin(), rest.end());
        return bytes;
    }
    for (std::uint64_t index = 0; !input.empty(); ++index) {
        Record record;
        record.type = static_cast<Record::Type>(input.u8() % 8);
        record.block = input.be32();
        record.slot = input.be32();
        record.crc = input.be32();
        std::uint8_t encoded[kRecordBytes];
        record.encode(encoded, index, kSeed);
        bytes.insert(bytes.end(), encoded, encoded + kRecordBytes);
    }
    return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 2) return 0;
    log::set_level(log::level::off);
    Rig rig(data[0]);
    const bool same_boot = (data[0] & 8) != 0;
    const bool raw = (data[0] & 0x80) != 0;
    const auto bytes = journal(rig.header(same_boot), ByteReader({data + 2, size - 2}), raw);
    rig.plant("journal", bytes, bytes.size());
    rig.plant("slots", {}, data[1] * kBlock);
    if (!rig.open()) return 0;
    rig.whole();
    std::vector<std::uint8_t> pattern(3 * kBlock, data[1]);
    rig.perform(Operation::write, 5 * kBlock + 512, pattern.size(), pattern.data());
    rig.perform(Operation::write, 6 * kBlock + 512, pattern.size(), pattern.data(), true);
    rig.perform(Operation::unmap, 50 * kBlock, 10 * kBlock, nullptr);
    rig.perform(Operation::flush, 0, 0, nullptr);
    const auto content = rig.whole();
    rig.close();
    CHECK(rig.open(), "what was open does not open again");
    CHECK(rig.whole() == content, "another content after opening again");
    rig.close();
    return 0;
}
