// The bytes of a manifest, and what a file's magic says.
#include <catch2/catch.hpp>

#include "common/image_magic.hpp"
#include "common/manifest.hpp"

using namespace goldlink;

TEST_CASE("a manifest's digest is that of its bytes, whatever is done with them") {
    Manifest manifest;
    manifest.size_bytes = disk_bytes_of_file(3 * kChunkBytes - 1000);
    CHECK(manifest.size_bytes == 3 * kChunkBytes - 512);
    manifest.chunks.resize(chunk_count_of(manifest.size_bytes));
    REQUIRE(manifest.chunks.size() == 3);
    Digest sevens;
    sevens.fill(7);
    manifest.chunks.set(1, sevens);
    const auto header = manifest.header();
    std::vector<std::uint8_t> bytes(header.begin(), header.end());
    bytes.resize(bytes.size() + 3 * sizeof(Digest));
    manifest.chunks.read_bytes(0, std::span(bytes).subspan(header.size()));
    CHECK(bytes.size() == manifest_bytes_of(manifest.size_bytes));
    CHECK(Hasher().hash(bytes) == manifest.digest());
    CHECK(*manifest_disk_bytes(header) == manifest.size_bytes);
    // The digest of old: versions of all stores are named by it.
    CHECK(to_hex(manifest.digest()) ==
          "f196a0d7aff2caa8a387a044b6d07d13909e5a425965ae1d255e940337ff3e87");
}

TEST_CASE("a header that is none, of another format, or that contradicts itself is refused") {
    Manifest manifest;
    manifest.size_bytes = 10 * kChunkBytes;
    manifest.chunks.resize(10);
    const auto good = manifest.header();
    REQUIRE(manifest_disk_bytes(good));
    const auto error = [&](std::size_t at, std::uint8_t value) {
        auto bad = good;
        bad[at] = value;
        const auto size = manifest_disk_bytes(bad);
        REQUIRE_FALSE(size);
        return size.error().kind;
    };
    CHECK(error(0, 'x') == ErrorKind::corrupt);
    CHECK(error(8, 2) == ErrorKind::invalid);
    CHECK(error(18, 0xff) == ErrorKind::corrupt);  // a size of other chunks
    CHECK(error(23, 0xff) == ErrorKind::corrupt);  // larger than any disk
    CHECK(error(24, 11) == ErrorKind::corrupt);
    CHECK(manifest_disk_bytes(Bytes(good).first(63)).error().kind == ErrorKind::corrupt);
}

TEST_CASE("a file is told by its magic") {
    const auto magic = [](std::string_view first, std::string_view last = "",
                          std::string_view name = "a") {
        return std::string(image_magic(as_bytes(first), as_bytes(last), name));
    };
    CHECK(magic("QFI\xfb....") == "qcow2");
    CHECK(magic("vhdxfile") == "vhdx");
    CHECK(magic("KDMV") == "vmdk");
    CHECK(magic("# Disk DescriptorFile\n") == "vmdk");
    CHECK(magic("", "conectix") == "vhd");
    CHECK(magic("", "", "A.VHD") == "vhd");
    CHECK(magic("QFI").empty());
    CHECK(magic("").empty());
    CHECK(compression_magic(as_bytes("\x1f\x8b\x08")) == "gzip");
    CHECK(compression_magic(as_bytes("\x28\xb5\x2f\xfd")) == "zstd");
    CHECK(compression_magic(as_bytes(std::string_view("\xfd\x37zXZ\0", 6))) == "xz");
    CHECK(compression_magic(as_bytes("PK")).empty());
    std::vector<std::uint8_t> disk(512);
    CHECK_FALSE(looks_like_a_disk(disk));
    disk[510] = 0x55;
    disk[511] = 0xaa;
    CHECK(looks_like_a_disk(disk));
    CHECK_FALSE(looks_like_a_disk(Bytes(disk).first(511)));
    CHECK_FALSE(looks_like_a_disk({}));
}
