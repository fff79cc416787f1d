// A folder with a raw disk, what is made of it by the formats' own tools, and a store to import it.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include "store_fixture.hpp"

namespace goldlink::store::test {

inline constexpr std::size_t kDiskBytes = (9 << 20) + 512 * 7;

struct ImageFolder {
    TemporaryFolder folder;
    std::unique_ptr<ImageStore> store = open_store(folder / "store");
    DiskBytes base = sample_disk(kDiskBytes, 7);

    ImageFolder() { write_file(folder / "base.raw", base); }
    std::filesystem::path convert(const std::string& from, const std::string& name,
                                  std::vector<std::string> options) {
        std::vector<std::string> argv = {"qemu-img", "convert", "-f", "raw"};
        argv.insert(argv.end(), options.begin(), options.end());
        argv.insert(argv.end(), {(folder / from).string(), (folder / name).string()});
        command(argv);
        return folder / name;
    }
    Result<VersionInfo> import(const ImportRequest& request) {
        Progress progress;
        auto info = store->import(request, progress);
        if (info) CHECK(progress.done_bytes == progress.total_bytes);
        CHECK(std::filesystem::is_empty(folder / "store/spool"));
        return info;
    }
    std::string digest_of(const DiskBytes& disk) {
        write_file(folder / "expected.raw", disk);
        return import_ok(*store, folder / "expected.raw", "raw").digest;
    }
};

inline DiskBytes bytes_at(const std::filesystem::path& file, std::uint64_t offset,
                          std::size_t length) {
    DiskBytes bytes(length);
    const int fd = ::open(file.c_str(), O_RDONLY);
    REQUIRE(::pread(fd, bytes.data(), length, static_cast<off_t>(offset)) ==
            static_cast<ssize_t>(length));
    ::close(fd);
    return bytes;
}

inline void put_at(const std::filesystem::path& file, std::uint64_t offset,
                   const DiskBytes& bytes) {
    const int fd = ::open(file.c_str(), O_WRONLY);
    REQUIRE(::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset)) ==
            static_cast<ssize_t>(bytes.size()));
    ::close(fd);
}

}  // namespace goldlink::store::test
