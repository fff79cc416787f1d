// VMDK: descriptors are read strictly, extents against their files, and nothing else is opened.
#include <fstream>

#include "common/vmdk_descriptor.hpp"
#include "image_folder.hpp"

using namespace goldlink;
using namespace goldlink::store;
using namespace goldlink::store::test;
using Catch::Contains;

TEST_CASE("a VMDK of several files imports with its extents beside it") {
    for (const std::string format :
         {"twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "monolithicFlat"}) {
        DYNAMIC_SECTION(format) {
            ImageFolder made;
            std::filesystem::create_directory(made.folder / "vm");
            const auto disk = made.convert("base.raw", "vm/pc 1.vmdk",
                                           {"-O", "vmdk", "-o", "subformat=" + format});
            const auto info = made.import({disk, "", {}, true});
            if (!info) FAIL(info.error().message);
            auto read = read_version(**made.store->open_version(info->digest));
            read.resize(made.base.size());
            CHECK(read == made.base);
            CHECK_THAT(made.import({disk, ""}).error().message,
                       Contains("keeps data in other files") && Contains("is missing"));
            std::filesystem::path extent;
            for (const auto& entry : std::filesystem::directory_iterator(made.folder / "vm"))
                if (entry.path() != disk) extent = entry.path();
            if (format == "twoGbMaxExtentSparse")
                CHECK_THAT(made.import({extent, ""}).error().message,
                           Contains("one of the files of a split VMDK"));
            std::filesystem::rename(extent, made.folder / extent.filename());
            const auto elsewhere = made.import({disk, "", {made.folder / extent.filename()}});
            if (!elsewhere) FAIL(elsewhere.error().message);
            CHECK(elsewhere->digest == info->digest);
        }
    }
}

namespace {

// Two flat files of one disk, and descriptors over them.
struct FlatVmdk : ImageFolder {
    static constexpr std::size_t kHalfSectors = 4096;
    DiskBytes disk = sample_disk(2 * kHalfSectors * 512, 11);

    FlatVmdk() {
        const auto half = disk.begin() + kHalfSectors * 512;
        write_file(folder / "a.img", DiskBytes(disk.begin(), half));
        write_file(folder / "b.img", DiskBytes(half, disk.end()));
    }
    Result<VersionInfo> import_lines(const std::string& lines) {
        std::ofstream(folder / "d.vmdk")
            << "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
               "createType=\"twoGbMaxExtentFlat\"\n"
            << lines;
        return import({folder / "d.vmdk", "", {folder / "a.img", folder / "b.img"}});
    }
};

}  // namespace

TEST_CASE("a VMDK's extents make the disk one after the other, each once, zeros among them") {
    FlatVmdk made;
    const std::string a = "RW 4096 FLAT \"a.img\" 0\n", b = "RW 4096 FLAT \"b.img\" 0\n";
    const auto half = made.disk.begin() + FlatVmdk::kHalfSectors * 512;
    DiskBytes with_zeros(made.disk.begin(), half);
    with_zeros.resize(with_zeros.size() + 1024 * 512);
    with_zeros.insert(with_zeros.end(), half, made.disk.end());
    const DiskBytes quarters(made.disk.begin() + 1024 * 512, half + 1024 * 512);
    const struct {
        const char* what;
        std::string lines;
        const DiskBytes& disk;
    } cases[] = {
        {"plain", a + b, made.disk},
        {"blank lines", "\n\n" + a + "\n" + b + "\n", made.disk},
        {"lines that end as in DOS", "\r\n\r\nRW 4096 FLAT \"a.img\" 0\r\n\r\n" + b, made.disk},
        {"read only", "RDONLY 4096 FLAT \"a.img\" 0\n" + b, made.disk},
        {"zeros", a + "RW 1024 ZERO\n" + b, with_zeros},
        {"zeros that nobody may touch", a + "NOACCESS 1024 ZERO\n" + b, with_zeros},
        {"parts of the files", "RW 3072 FLAT \"a.img\" 1024\nRW 1024 FLAT \"b.img\" 0\n", quarters},
    };
    for (const auto& one : cases) {
        INFO(one.what);
        const auto info = made.import_lines(one.lines);
        if (!info) FAIL(info.error().message);
        CHECK(info->digest == made.digest_of(one.disk));
    }
}

TEST_CASE("a VMDK whose files do not hold what it says is refused") {
    FlatVmdk made;
    const std::string a = "RW 4096 FLAT \"a.img\" 0\n";
    CHECK_THAT(made.import_lines(a + "RW 4097 FLAT \"b.img\" 0\n").error().message,
               Contains("b.img was cut short") && Contains("2097664"));
    CHECK_THAT(made.import_lines(a + "RW 4096 FLAT \"b.img\" 1\n").error().message,
               Contains("b.img was cut short"));
    CHECK_THAT(made.import_lines("RW 4096 SPARSE \"a.img\"\n").error().message,
               Contains("does not begin as the SPARSE extent"));
    made.convert("base.raw", "s.vmdk", {"-O", "vmdk", "-o", "subformat=twoGbMaxExtentSparse"});
    std::filesystem::rename(made.folder / "s-s001.vmdk", made.folder / "a.img");
    CHECK_THAT(made.import_lines("RW 4096 SPARSE \"a.img\"\n").error().message,
               Contains("not of one disk"));
    // With a capacity of 0, QEMU reads its sectors for another descriptor, and opens what it names.
    put_at(made.folder / "a.img", 12, DiskBytes(8, 0));
    CHECK_THAT(made.import_lines("RW 4096 SPARSE \"a.img\"\n").error().message,
               Contains("a.img has 0 sectors"));
    CHECK(made.store->list()->empty());
}

TEST_CASE("a VMDK's embedded descriptor leads to no other file") {
    ImageFolder made;
    const auto secret = made.folder / "secret.raw";
    write_file(secret, sample_disk(1 << 20, 9));
    const auto file =
        made.convert("base.raw", "one.vmdk", {"-O", "vmdk", "-o", "subformat=monolithicSparse"});
    const auto put_descriptor = [&](const std::string& lines) {
        const std::string text =
            "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
            "createType=\"monolithicFlat\"\n" +
            lines;
        DiskBytes sectors(20 * 512, 0);
        std::copy(text.begin(), text.end(), sectors.begin());
        put_at(file, 512, sectors);
        return made.import({file, ""});
    };
    const std::string flat = "RW 2048 FLAT \"secret.raw\" 0\n";
    SECTION("with a size in the header") {
        CHECK_THAT(put_descriptor(flat).error().message, Contains("the data lies elsewhere"));
    }
    SECTION("without one, as QEMU takes for a text that names files") {
        put_at(file, 12, DiskBytes(8, 0));
        CHECK_THAT(put_descriptor(flat).error().message, Contains("the data lies elsewhere"));
        CHECK_THAT(put_descriptor("RW 2048 FLAT \"" + secret.string() + "\" 0\n").error().message,
                   Contains("no plain file name"));
        CHECK_THAT(put_descriptor("RW 2048 SPARSE \"one.vmdk\"\n").error().message,
                   Contains("the data lies elsewhere"));
    }
    SECTION("with another size than the header's") {
        CHECK_THAT(put_descriptor("RW 2048 SPARSE \"one.vmdk\"\n").error().message,
                   Contains("header says"));
    }
    SECTION("a parent in the sector where QEMU looks for one") {
        const auto sectors = load_le64(bytes_at(file, 12, 8).data());
        CHECK_THAT(put_descriptor("RW " + std::to_string(sectors) +
                                  " SPARSE \"x\"\nparentFileNameHint=\"secret.raw\"\n")
                       .error()
                       .message,
                   Contains("needs another file"));
    }
    CHECK(made.store->list()->empty());
}

TEST_CASE("a VMDK descriptor is read strictly") {
    const std::string head = "# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\n";
    const auto extents = parse_vmdk_descriptor(
        head +
            "# x\r\n\r\nRW 10 SPARSE \"a b.vmdk\"\nRDONLY 2 FLAT \"c.img\" 128\nRW 4 ZERO\n"
            "ddb.adapterType = \"ide\"\n" +
            std::string(300, '\0'),
        "x");
    REQUIRE(extents);
    REQUIRE(extents->size() == 3);
    CHECK(extents->at(0).file == "a b.vmdk");
    CHECK(extents->at(0).sectors == 10);
    CHECK(extents->at(1).type == "FLAT");
    CHECK(extents->at(1).offset_sectors == 128);
    CHECK(extents->at(2).type == "ZERO");
    CHECK(extents->at(2).file.empty());
    const auto why = [&](const std::string& lines) {
        const auto parsed = parse_vmdk_descriptor(head + lines, "x.vmdk");
        return parsed ? std::string("taken") : parsed.error().message;
    };
    for (const std::string name : {"/etc/shadow", "../up.img", "a/b", "C:\\d", "nbd:x", "", ".x"})
        CHECK_THAT(why("RW 1 FLAT \"" + name + "\" 0\n"), Contains("no plain file name"));
    for (const std::string line :
         {"RW 1 FLAT \"a\n", "RW x FLAT \"a\"\n", "RW 1 FLAT\n", "RW 1 FLAT \"a\" b\n",
          "RW 1 ZERO \"a\"\n", "RW 0 FLAT \"a\" 0\n", "RW 1 FLAT \"a\"\n", "RW -1 FLAT \"a\" 0\n",
          "RW 1 SPARSE \"a\" 7\n", "RW\n1 FLAT \"a\" 0\n"})
        CHECK_THAT(why(line), Contains("cannot be read"));
    CHECK_THAT(why("RW 1 FLAT \"a\" 0\nhello\n"), Contains("damaged VMDK descriptor"));
    CHECK_THAT(why("parentCID = 12345678\nRW 1 FLAT \"a\" 0\n"), Contains("snapshot"));
    for (const std::string type : {"VMFSRAW", "VMFSRDM", "DEVICE", "flat"})
        CHECK_THAT(why("RW 1 " + type + " \"a\"\n"), Contains("type that an import cannot read"));
    CHECK_THAT(why("NOACCESS 1 FLAT \"a\" 0\n"), Contains("must not be read"));
    CHECK(why("NOACCESS 1 ZERO\nRW 1 VMFS \"a\"\n") == "taken");
    CHECK_THAT(why("RW 34359738368 ZERO\nRW 1 FLAT \"a\" 0\n"), Contains("the most a disk"));
    CHECK_THAT(why("RW 1 FLAT \"a\" 34359738368\n"), Contains("the most a disk"));
    CHECK_THAT(why("RW 1 ZERO\n"), Contains("no file with data"));
    CHECK_THAT(why(""), Contains("no file with data"));
    std::string many;
    for (int i = 0; i < 1100; ++i) many += "RW 1 FLAT \"a\" 0\n";
    CHECK_THAT(why(many), Contains("more than"));
}

TEST_CASE("what an earlier VMDK descriptor has left behind a shorter one is not read") {
    // qemu-img writes a new CID over the old, without its leading zeros.
    using namespace std::string_literals;
    const auto extents = parse_vmdk_descriptor(
        "# Disk DescriptorFile\nCID=63733\nRW 8 FLAT \"a\" 0\nddb.toolsVersion = \"21\"\n"s +
            "\0\"\nRW 8 FLAT \"b\" 0\n\0\0"s,
        "x.vmdk");
    REQUIRE(extents);
    REQUIRE(extents->size() == 1);
    CHECK(extents->at(0).file == "a");
}

TEST_CASE("a sparse VMDK that was cut short is refused, by however little") {
    for (const std::string format : {"monolithicSparse", "twoGbMaxExtentSparse", "streamOptimized"})
        for (const std::uintmax_t cut : {512U, 4096U, 65536U, 300'000U}) {
            DYNAMIC_SECTION(format << " without its last " << cut << " bytes") {
                ImageFolder made;
                std::filesystem::create_directory(made.folder / "vm");
                // Of whole grains, so that nothing at the file's end is padding.
                write_file(made.folder / "whole.raw", sample_disk(2 << 20, 5));
                const auto disk = made.convert("whole.raw", "vm/d.vmdk",
                                               {"-O", "vmdk", "-o", "subformat=" + format});
                std::filesystem::path data = disk;
                for (const auto& entry : std::filesystem::directory_iterator(made.folder / "vm"))
                    if (entry.path() != disk) data = entry.path();
                std::filesystem::resize_file(data, std::filesystem::file_size(data) - cut);
                const auto info = made.import({disk, "", {}, true});
                REQUIRE(!info);
                CHECK_THAT(info.error().message, Contains("cut short") || Contains("damaged"));
            }
        }
}

TEST_CASE("a sparse VMDK whose tables lead out of the file, or say what cannot be, is refused") {
    ImageFolder made;
    const auto disk = made.convert("base.raw", "d.vmdk", {"-O", "vmdk"});
    const struct {
        const char* what;
        std::streamoff at;
        std::string bytes;
    } cases[] = {
        {"no grain size", 20, std::string(8, '\0')},
        {"a grain size of 2^63", 20, std::string(7, '\0') + "\x80"},
        {"tables without entries", 44, std::string(4, '\0')},
        {"a directory behind the end", 56, std::string(8, '\x7f')},
    };
    for (const auto& c : cases) {
        DYNAMIC_SECTION(c.what) {
            std::fstream file(disk, std::ios::in | std::ios::out | std::ios::binary);
            file.seekp(c.at);
            file.write(c.bytes.data(), static_cast<std::streamsize>(c.bytes.size()));
            file.close();
            const auto info = made.import({disk, ""});
            REQUIRE(!info);
            CHECK_THAT(info.error().message, Contains("d.vmdk"));
        }
    }
}
