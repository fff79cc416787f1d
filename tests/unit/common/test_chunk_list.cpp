// The list of a disk's chunks against a plain vector, and that holes cost nothing.
#include <catch2/catch.hpp>
#include <random>

#include "common/chunk_list.hpp"
#include "common/manifest.hpp"

using namespace goldlink;

namespace {

Digest digest_of(std::uint64_t number) {
    Digest digest{};
    store_le64(digest.data() + 8, number);
    return digest;
}

std::vector<std::uint8_t> bytes_of(const ChunkList& list) {
    std::vector<std::uint8_t> bytes(list.size() * sizeof(Digest));
    list.read_bytes(0, bytes);
    return bytes;
}

}  // namespace

TEST_CASE("a list of chunks is what a plain array of them is, whatever is done to it") {
    std::mt19937_64 random(3);
    ChunkList list;
    std::vector<Digest> model;
    for (int step = 0; step < 3000; ++step) {
        switch (random() % 8) {
            case 0: {
                const std::size_t size = random() % (5 * ChunkList::kPartChunks);
                list.resize(size);
                model.resize(size);
                break;
            }
            case 1:
                list.push_back(digest_of(random() % 2));
                model.push_back(list[list.size() - 1]);
                break;
            case 2: {  // bytes that begin and end anywhere
                if (model.empty()) break;
                const std::size_t all = model.size() * sizeof(Digest);
                const std::size_t at = random() % all;
                std::vector<std::uint8_t> bytes(random() % std::min<std::size_t>(all - at, 200000));
                if (random() % 2 == 0)
                    for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random());
                list.write_bytes(at, bytes);
                std::copy(bytes.begin(), bytes.end(),
                          reinterpret_cast<std::uint8_t*>(model.data()) + at);
                break;
            }
            default:
                if (model.empty()) break;
                const std::size_t at = random() % model.size();
                const Digest digest = random() % 3 == 0 ? Digest{} : digest_of(random());
                list.set(at, digest);
                model[at] = digest;
        }
        REQUIRE(list.size() == model.size());
    }
    std::size_t at = 0;
    for (const Digest& digest : list)
        if (digest != model[at++]) FAIL("chunk " << at - 1);
    const auto bytes = bytes_of(list);
    CHECK(std::equal(bytes.begin(), bytes.end(),
                     reinterpret_cast<const std::uint8_t*>(model.data())));
    const ChunkList copy = list;
    CHECK(copy == list);
    list.set(0, digest_of(12345));
    CHECK_FALSE(copy == list);
}

TEST_CASE("parts of zeros are passed over and take no memory") {
    ChunkList list;
    list.resize(chunk_count_of(8ull << 40));
    CHECK(list.skip_zeros(0) == list.size());
    CHECK(list.part_bytes(70).empty());
    list.set(100'000'000, digest_of(1));
    const std::size_t found = list.skip_zeros(5);
    CHECK(found == 100'000'000 / ChunkList::kPartChunks * ChunkList::kPartChunks);
    CHECK(list.skip_zeros(found + 1) == found + 1);
    CHECK(list.skip_zeros(found + ChunkList::kPartChunks) == list.size());
    list.set(100'000'000, {});
    CHECK(is_zero(list[100'000'000]));
}

TEST_CASE("the digest of a manifest with holes is that of all its bytes") {
    Manifest manifest;
    manifest.size_bytes = (3 * ChunkList::kPartChunks + 5) * kChunkBytes;
    manifest.chunks.resize(chunk_count_of(manifest.size_bytes));
    manifest.chunks.set(ChunkList::kPartChunks + 9, digest_of(4));
    const auto header = manifest.header();
    std::vector<std::uint8_t> bytes(header.begin(), header.end());
    const auto list = bytes_of(manifest.chunks);
    bytes.insert(bytes.end(), list.begin(), list.end());
    CHECK(Hasher().hash(bytes) == manifest.digest());
    CHECK(manifest.stored_chunks() == 1);
    CHECK(manifest.distinct_chunks() == std::vector<Digest>{digest_of(4)});
}
