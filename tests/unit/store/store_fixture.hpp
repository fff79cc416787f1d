// A store in a folder of its own under the system's temporary folder, and disk image files to feed
// it. Everything is removed at the end of the test.
#pragma once

#include <catch2/catch.hpp>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/bytes.hpp"
#include "target/store/image_store.hpp"
#include "tests/unit/random_bytes.hpp"
#include "tests/unit/temporary_folder.hpp"

namespace goldlink::store::test {

using goldlink::test::DiskBytes;
using goldlink::test::random_bytes;
using goldlink::test::TemporaryFolder;

// A disk with an MBR signature, random data in some chunks and zeros in between.
DiskBytes sample_disk(std::size_t length, std::uint64_t seed);
void write_file(const std::filesystem::path& file, const DiskBytes& bytes);
DiskBytes read_whole(const std::filesystem::path& file);
// Reads a version through its locations and pack descriptors, as the disk layer does.
DiskBytes read_version(const Version& version);
std::uint64_t allocated_bytes(const std::filesystem::path& folder);  // of all files below

std::unique_ptr<ImageStore> open_store(const std::filesystem::path& folder);
VersionInfo import_ok(ImageStore& store, const std::filesystem::path& file,
                      const std::string& format = "");
Error import_error(ImageStore& store, const std::filesystem::path& file,
                   const std::string& format = "");
void command(std::vector<std::string> argv);  // must succeed

}  // namespace goldlink::store::test
