#include "store_fixture.hpp"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <random>

#include "common/child.hpp"

namespace goldlink::store::test {

DiskBytes sample_disk(std::size_t length, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    DiskBytes disk(length);
    for (std::size_t at = 0; at < length; at += kChunkBytes) {
        if (random() % 3 == 0 && at != 0) continue;
        const auto data = random_bytes(std::min<std::size_t>(kChunkBytes, length - at), random());
        std::copy(data.begin(), data.end(), disk.begin() + static_cast<std::ptrdiff_t>(at));
    }
    disk[510] = 0x55;
    disk[511] = 0xaa;
    return disk;
}

void write_file(const std::filesystem::path& file, const DiskBytes& bytes) {
    std::ofstream out(file, std::ios::binary | std::ios::trunc);
    out.write(reinterpret_cast<const char*>(bytes.data()),
              static_cast<std::streamsize>(bytes.size()));
    out.close();
    REQUIRE(out.good());
}

DiskBytes read_whole(const std::filesystem::path& file) {
    std::ifstream in(file, std::ios::binary);
    REQUIRE(in.good());
    return {std::istreambuf_iterator<char>(in), {}};
}

DiskBytes read_version(const Version& version) {
    DiskBytes disk(version.size_bytes());
    for (std::uint64_t at = 0; at < disk.size(); at += kChunkBytes) {
        const ChunkLocation location = version.location(at / kChunkBytes);
        if (location == kZeroChunk) continue;
        REQUIRE(is_stored(location));
        const std::uint64_t length = std::min<std::uint64_t>(kChunkBytes, disk.size() - at);
        REQUIRE(::pread(version.pack_fd(location), disk.data() + at, length,
                        static_cast<off_t>(Version::slot_offset_bytes(location))) ==
                static_cast<ssize_t>(length));
    }
    return disk;
}

std::uint64_t allocated_bytes(const std::filesystem::path& folder) {
    std::uint64_t total = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
        struct stat status {};
        if (entry.is_regular_file() && ::stat(entry.path().c_str(), &status) == 0)
            total += static_cast<std::uint64_t>(status.st_blocks) * 512;
    }
    return total;
}

std::unique_ptr<ImageStore> open_store(const std::filesystem::path& folder) {
    auto store = ImageStore::open(folder);
    if (!store) FAIL(store.error().message);
    return std::move(*store);
}

VersionInfo import_ok(ImageStore& store, const std::filesystem::path& file,
                      const std::string& format) {
    Progress progress;
    auto info = store.import({file, format}, progress);
    if (!info) FAIL(info.error().message);
    CHECK(progress.done_bytes == progress.total_bytes);
    return *info;
}

Error import_error(ImageStore& store, const std::filesystem::path& file,
                   const std::string& format) {
    Progress progress;
    auto info = store.import({file, format}, progress);
    REQUIRE_FALSE(info);
    return info.error();
}

void command(std::vector<std::string> argv) {
    auto output = run_command(std::move(argv), std::chrono::seconds(60));
    if (!output) FAIL(output.error().message);
}

}  // namespace goldlink::store::test
