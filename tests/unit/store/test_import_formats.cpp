// Every format through the real qemu-img, and the files that must be refused.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "store_fixture.hpp"
#include "target/store/image_format.hpp"
#include "target/store/image_source.hpp"

using namespace goldlink;
using namespace goldlink::store;
using namespace goldlink::store::test;
using Catch::Contains;

namespace {

// 5 MiB and a bit: no multiple of VHD's cylinders, which must not cost the end of the disk.
constexpr std::size_t kDiskBytes = (5 << 20) + 512 * 7;

struct Images {
    TemporaryFolder folder;
    DiskBytes disk = sample_disk(kDiskBytes, 42);
    std::unique_ptr<ImageStore> store;

    Images() : store(open_store(folder / "store")) { write_file(folder / "disk.raw", disk); }
    std::filesystem::path make(const std::string& name, std::vector<std::string> options) {
        std::vector<std::string> argv = {"qemu-img", "convert", "-f", "raw"};
        argv.insert(argv.end(), options.begin(), options.end());
        argv.insert(argv.end(), {(folder / "disk.raw").string(), (folder / name).string()});
        command(argv);
        return folder / name;
    }
    void nothing_left() {
        CHECK(store->list()->empty());
        CHECK(std::filesystem::is_empty(folder / "store/spool"));
        CHECK(allocated_bytes(folder / "store/packs") == 0);
    }
};

void truncate_file(const std::filesystem::path& file, std::uint64_t length) {
    std::filesystem::resize_file(file, length);
}

}  // namespace

TEST_CASE("VHD, VHDX, VMDK and qcow2 import as the disk they hold, detected or named") {
    const struct {
        const char* name;
        const char* format;
        std::vector<std::string> options;
    } cases[] = {
        {"dynamic.vhd", "vhd", {"-O", "vpc", "-o", "subformat=dynamic,force_size=on"}},
        {"fixed.vhd", "vhd", {"-O", "vpc", "-o", "subformat=fixed,force_size=on"}},
        {"disk.vhdx", "vhdx", {"-O", "vhdx"}},
        {"fixed.vhdx", "vhdx", {"-O", "vhdx", "-o", "subformat=fixed"}},
        {"disk.vmdk", "vmdk", {"-O", "vmdk"}},
        {"stream.vmdk", "vmdk", {"-O", "vmdk", "-o", "subformat=streamOptimized"}},
        {"disk.qcow2", "qcow2", {"-O", "qcow2"}},
        {"compressed.qcow2", "qcow2", {"-c", "-O", "qcow2"}},
    };
    Images images;
    for (const auto& one : cases) {
        DYNAMIC_SECTION(one.name) {
            const auto file = images.make(one.name, one.options);
            const auto info = import_ok(*images.store, file);
            auto read = read_version(**images.store->open_version(info.digest));
            // A format may round the disk up; what it adds is zero.
            REQUIRE(read.size() >= images.disk.size());
            CHECK(read.size() < images.disk.size() + (1 << 20));
            auto expected = images.disk;
            expected.resize(read.size());
            CHECK(read == expected);
            CHECK(import_ok(*images.store, file, one.format).digest == info.digest);
            CHECK(std::filesystem::is_empty(images.folder / "store/spool"));
        }
    }
}

TEST_CASE("a VHD keeps the size its footer says, whoever made it") {
    Images images;
    const auto file = images.make("a.vhd", {"-O", "vpc", "-o", "subformat=dynamic,force_size=on"});
    // Another creator's name: qemu-img by itself would now round the size down to cylinders.
    for (const std::uint64_t footer :
         {std::uint64_t{0}, std::uint64_t{std::filesystem::file_size(file) - 512}}) {
        const int fd = ::open(file.c_str(), O_RDWR);
        std::uint8_t bytes[512];
        REQUIRE(::pread(fd, bytes, 512, static_cast<off_t>(footer)) == 512);
        std::copy_n("ccbt", 4, bytes + 28);
        std::uint32_t sum = 0;
        for (int i = 0; i < 512; ++i)
            if (i < 64 || i >= 68) sum += bytes[i];
        store_be32(bytes + 64, ~sum);
        REQUIRE(::pwrite(fd, bytes, 512, static_cast<off_t>(footer)) == 512);
        ::close(fd);
    }
    const auto info = import_ok(*images.store, file);
    CHECK(info.size_bytes == kDiskBytes);
    CHECK(read_version(**images.store->open_version(info.digest)) == images.disk);
}

TEST_CASE("a truncated VHD is refused and says what is missing") {
    Images images;
    SECTION("dynamic: the footer that ends it") {
        const auto file = images.make("a.vhd", {"-O", "vpc"});
        truncate_file(file, std::filesystem::file_size(file) / 2);
        const Error error = import_error(*images.store, file);
        CHECK(error.kind == ErrorKind::invalid);
        CHECK_THAT(error.message, Contains("a.vhd") && Contains("cut short") && Contains("footer"));
    }
    SECTION("fixed: known by its name alone") {
        const auto file = images.make("b.vhd", {"-O", "vpc", "-o", "subformat=fixed"});
        truncate_file(file, std::filesystem::file_size(file) - 4096);
        CHECK_THAT(import_error(*images.store, file).message, Contains("no VHD footer"));
        CHECK_THAT(import_error(*images.store, file, "vhd").message, Contains("no VHD footer"));
    }
    SECTION("a footer whose checksum is wrong") {
        const auto file = images.make("c.vhd", {"-O", "vpc"});
        const int fd = ::open(file.c_str(), O_RDWR);
        REQUIRE(::pwrite(fd, "x", 1,
                         static_cast<off_t>(std::filesystem::file_size(file)) - 512 + 48) == 1);
        ::close(fd);
        CHECK_THAT(import_error(*images.store, file).message, Contains("checksum"));
    }
    images.nothing_left();
}

TEST_CASE("images of other formats that are cut short are refused, not padded with zeros") {
    Images images;
    const struct {
        const char* name;
        std::vector<std::string> options;
    } cases[] = {
        {"a.qcow2", {"-O", "qcow2"}}, {"a.vhdx", {"-O", "vhdx"}}, {"a.vmdk", {"-O", "vmdk"}}};
    for (const auto& one : cases) {
        DYNAMIC_SECTION(one.name) {
            const auto file = images.make(one.name, one.options);
            truncate_file(file, std::filesystem::file_size(file) * 2 / 3);
            const Error error = import_error(*images.store, file);
            CHECK(error.kind == ErrorKind::invalid);
            CHECK_THAT(error.message, Contains(one.name));
            images.nothing_left();
        }
    }
}

TEST_CASE("a differencing VHD is refused and names its parent") {
    Images images;
    const auto file = images.make("child.vhd", {"-O", "vpc"});
    const auto size = std::filesystem::file_size(file);
    const int fd = ::open(file.c_str(), O_RDWR);
    std::uint8_t footer[512];
    REQUIRE(::pread(fd, footer, 512, static_cast<off_t>(size) - 512) == 512);
    footer[63] = 4;
    std::uint32_t sum = 0;
    for (int i = 0; i < 512; ++i)
        if (i < 64 || i >= 68) sum += footer[i];
    store_be32(footer + 64, ~sum);
    REQUIRE(::pwrite(fd, footer, 512, static_cast<off_t>(size) - 512) == 512);
    const std::string parent = "golden.vhd";
    std::uint8_t name[64] = {};
    for (std::size_t i = 0; i < parent.size(); ++i)
        name[2 * i + 1] = static_cast<std::uint8_t>(parent[i]);
    REQUIRE(::pwrite(fd, name, sizeof name, static_cast<off_t>(load_be64(footer + 16)) + 64) ==
            sizeof name);
    ::close(fd);
    CHECK_THAT(import_error(*images.store, file).message,
               Contains("differencing") && Contains("\"golden.vhd\"") && Contains("Merge"));
    images.nothing_left();
}

TEST_CASE("a file that is no image is refused; format raw is offered where it could be one") {
    Images images;
    const auto file = images.folder / "notes.bin";
    bool offered = false;
    SECTION("bytes") { write_file(file, random_bytes(200'000, 1)); }
    SECTION("text") { std::ofstream(file) << std::string(2 << 20, 'a'); }
    SECTION("whole sectors that could be anything") {
        write_file(file, random_bytes(2 << 20, 1));
        offered = true;
    }
    const Error error = import_error(*images.store, file);
    CHECK(error.kind == ErrorKind::invalid);
    CHECK_THAT(error.message, Contains("notes.bin") && Contains("no disk image"));
    CHECK((error.message.find("format raw") != std::string::npos) == offered);
    images.nothing_left();
    CHECK(import_ok(*images.store, file, "raw").size_bytes % 512 == 0);  // said to be one
}

TEST_CASE("a raw disk that its own partition table says was cut short is refused, but as raw") {
    Images images;
    DiskBytes disk(4 << 20, 0);
    disk[510] = 0x55, disk[511] = 0xaa;
    disk[446 + 4] = 7;
    store_le32(disk.data() + 446 + 8, 2048);
    store_le32(disk.data() + 446 + 12, (4 << 20) / 512 - 2048);
    const auto file = images.folder / "cut.img";
    write_file(file, disk);
    REQUIRE(images.store->remove(import_ok(*images.store, file).digest));
    truncate_file(file, (4 << 20) - 512);
    CHECK_THAT(import_error(*images.store, file).message,
               Contains("cut.img was cut short") && Contains("4194304") && Contains("format raw"));
    CHECK(import_ok(*images.store, file, "raw").size_bytes == (4 << 20) - 512);
}

TEST_CASE("an import makes no version of a file that changes, or that another program writes to") {
    Images images;
    SECTION("while it is read in place") {
        const auto file = images.folder / "disk.raw";
        Progress progress;
        const auto change_while_open = [&](const std::function<void()>& change) {
            const auto source =
                ImageSource::open({file, ""}, images.folder / "store/spool", progress);
            REQUIRE(source);
            CHECK((*source)->check_unchanged());
            change();
            const auto checked = (*source)->check_unchanged();
            return checked ? std::string("unchanged") : checked.error().message;
        };
        CHECK(change_while_open([] {}) == "unchanged");
        CHECK_THAT(change_while_open([&] { truncate_file(file, kDiskBytes + 512); }),
                   Contains("disk.raw had " + std::to_string(kDiskBytes) + " bytes"));
        CHECK_THAT(change_while_open([&] {
                       const int fd = ::open(file.c_str(), O_RDWR | O_CLOEXEC);
                       REQUIRE(::pwrite(fd, "x", 1, 4096) == 1);
                       // A moment that is not that of the making, however fast this runs.
                       const timespec times[2] = {{0, UTIME_OMIT}, {1'000'000'000, 0}};
                       REQUIRE(::futimens(fd, times) == 0);
                       ::close(fd);
                   }),
                   Contains("disk.raw was written to while it was read"));
    }
    SECTION("a virtual machine's disk, by QEMU's own lock") {
        const auto file = images.make("vm.qcow2", {"-O", "qcow2"});
        const int fd = ::open(file.c_str(), O_RDWR | O_CLOEXEC);
        struct flock lock {};
        lock.l_type = F_RDLCK;
        lock.l_start = 101;
        lock.l_len = 1;
        REQUIRE(::fcntl(fd, F_OFD_SETLK, &lock) == 0);
        CHECK_THAT(import_error(*images.store, file).message,
                   Contains("vm.qcow2 is open for writing in another program") &&
                       Contains("process " + std::to_string(::getpid())));
        ::close(fd);
        REQUIRE(images.store->remove(import_ok(*images.store, file).digest));
    }
    SECTION("any other's, by its write lock") {
        const auto file = images.folder / "disk.raw";
        const int fd = ::open(file.c_str(), O_RDWR | O_CLOEXEC);
        struct flock lock {};
        lock.l_type = F_WRLCK;
        REQUIRE(::fcntl(fd, F_OFD_SETLK, &lock) == 0);
        CHECK_THAT(import_error(*images.store, file).message, Contains("open for writing"));
        ::close(fd);
    }
    images.nothing_left();
}

TEST_CASE("missing, empty, odd and misnamed files are refused") {
    Images images;
    CHECK(import_error(*images.store, images.folder / "none.img").kind == ErrorKind::not_found);
    write_file(images.folder / "empty.img", {});
    CHECK_THAT(import_error(*images.store, images.folder / "empty.img").message,
               Contains("is empty"));
    CHECK_THAT(import_error(*images.store, images.folder.path()).message, Contains("not a file"));
    const auto qcow2 = images.make("a.qcow2", {"-O", "qcow2"});
    CHECK_THAT(import_error(*images.store, qcow2, "vhdx").message,
               Contains("is not vhdx") && Contains("qcow2"));
    CHECK_THAT(import_error(*images.store, images.folder / "disk.raw", "qcow2").message,
               Contains("is not qcow2"));
    CHECK_THAT(import_error(*images.store, qcow2, "dmg").message, Contains("\"dmg\""));
    images.nothing_left();
}

TEST_CASE("no import ever opens another file: backing files, data files, extents") {
    Images images;
    const auto secret = images.folder / "secret.raw";
    write_file(secret, sample_disk(1 << 20, 9));
    SECTION("qcow2 with a backing file") {
        const auto file = images.folder / "trap.qcow2";
        command({"qemu-img", "create", "-f", "qcow2", "-F", "raw", "-b", secret.string(),
                 file.string()});
        CHECK_THAT(import_error(*images.store, file).message,
                   Contains("backing file") && Contains("secret.raw"));
    }
    SECTION("qcow2 with an external data file") {
        const auto file = images.folder / "trap.qcow2";
        command({"qemu-img", "create", "-f", "qcow2", "-o",
                 "data_file=" + (images.folder / "data.raw").string() + ",data_file_raw=on",
                 file.string(), "1M"});
        CHECK_THAT(import_error(*images.store, file).message, Contains("another file"));
    }
    SECTION("VMDK descriptor with a flat extent") {
        const auto file = images.folder / "trap.vmdk";
        std::ofstream(file)
            << "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
               "createType=\"monolithicFlat\"\nRW 2048 FLAT \"secret.raw\" 0\n";
        CHECK_THAT(import_error(*images.store, file).message, Contains("other files"));
    }
    SECTION("VMDK sparse extent with a parent") {
        const auto parent = images.make("parent.vmdk", {"-O", "vmdk"});
        const auto file = images.folder / "trap.vmdk";
        command({"qemu-img", "create", "-f", "vmdk", "-F", "vmdk", "-b", parent.string(),
                 file.string()});
        CHECK_THAT(import_error(*images.store, file).message,
                   Contains("snapshot over another VMDK"));
    }
    SECTION("a JSON file name inside a qcow2 name is only a name") {
        const auto file = images.folder / "a,driver=raw,file.filename=secret.raw";
        std::filesystem::copy_file(images.make("a.qcow2", {"-O", "qcow2"}), file);
        const auto info = import_ok(*images.store, file);
        CHECK(info.size_bytes == kDiskBytes);
        REQUIRE(images.store->remove(info.digest));
    }
    images.nothing_left();
}

TEST_CASE("a VHDX that qemu-img does not read is named with what helps") {
    Images images;
    const auto file = images.make("disk.vhdx", {"-O", "vhdx"});
    const DiskBytes bytes = read_whole(file);
    // An item of the metadata ([MS-VHDX] 2.6.2), by the identifier in the table before it.
    const auto set_item = [&](const std::vector<std::uint8_t>& id, std::uint32_t at,
                              std::uint32_t value) {
        const auto entry = std::search(bytes.begin(), bytes.end(), id.begin(), id.end());
        REQUIRE(entry != bytes.end());
        const std::string_view magic = "metadata";
        const auto region = std::find_end(bytes.begin(), entry, magic.begin(), magic.end());
        std::uint8_t number[4];
        store_le32(number, value);
        const int fd = ::open(file.c_str(), O_RDWR | O_CLOEXEC);
        REQUIRE(::pwrite(fd, number, 4, region - bytes.begin() + load_le32(&*entry + 16) + at) ==
                4);
        ::close(fd);
    };
    SECTION("sectors of 4096 bytes") {
        set_item({0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47}, 0, 4096);
        CHECK_THAT(import_error(*images.store, file).message,
                   Contains("sectors of 4096 bytes") && Contains("--4kn"));
    }
    SECTION("a difference") {
        set_item({0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d}, 4, 2);
        CHECK_THAT(import_error(*images.store, file).message,
                   Contains("differencing VHDX") && Contains("Merge-VHD"));
    }
    images.nothing_left();
}

TEST_CASE("a qcow2 that was not closed is imported where it is whole, else told how to repair it") {
    Images images;
    const auto file =
        images.make("killed.qcow2", {"-O", "qcow2", "-o", "lazy_refcounts=on,compat=1.1"});
    const DiskBytes bytes = read_whole(file);
    const int fd = ::open(file.c_str(), O_RDWR | O_CLOEXEC);
    const auto put = [fd](std::uint64_t at, const DiskBytes& what) {
        REQUIRE(::pwrite(fd, what.data(), what.size(), static_cast<off_t>(at)) ==
                static_cast<ssize_t>(what.size()));
    };
    put(79, {1});  // incompatible features: dirty
    const auto info = import_ok(*images.store, file);
    CHECK(read_version(**images.store->open_version(info.digest)) == images.disk);
    REQUIRE(images.store->remove(info.digest));
    const std::uint64_t counts = load_be64(bytes.data() + load_be64(bytes.data() + 48));
    put(counts + 20, {0, 0});  // a cluster in use, not counted yet
    CHECK_THAT(import_error(*images.store, file).message,
               Contains("was not closed") && Contains("qemu-img check -r all"));
    put(79, {2});
    CHECK_THAT(import_error(*images.store, file).message, Contains("marked as corrupt"));
    ::close(fd);
    images.nothing_left();
}

TEST_CASE("encrypted images are refused") {
    Images images;
    const auto file = images.folder / "locked.qcow2";
    // Not LUKS: qemu-img times the CPU to choose its iterations and gives up on a busy machine.
    command({"qemu-img", "create", "-f", "qcow2", "--object", "secret,id=s,data=abcdefgh", "-o",
             "encrypt.format=aes,encrypt.key-secret=s", file.string(), "1M"});
    CHECK_THAT(import_error(*images.store, file).message, Contains("encrypted"));
}

TEST_CASE("a conversion is cancelled while it runs, and reports progress") {
    Images images;
    write_file(images.folder / "disk.raw", random_bytes(64 << 20, 3));
    const auto file = images.make("big.qcow2", {"-c", "-O", "qcow2"});
    Progress progress;
    std::thread canceller([&progress] {
        while (progress.total_bytes == 0) std::this_thread::yield();
        progress.cancel = true;
    });
    const auto info = images.store->import({file, ""}, progress);
    canceller.join();
    REQUIRE_FALSE(info);
    CHECK(info.error().kind == ErrorKind::cancelled);
    images.nothing_left();
    Progress whole;
    REQUIRE(images.store->import({file, ""}, whole));
    CHECK(whole.total_bytes == 2 * (64ull << 20));
    CHECK(whole.done_bytes == whole.total_bytes);
}

TEST_CASE("exports in every format import again as the same version") {
    Images images;
    const auto info = import_ok(*images.store, images.folder / "disk.raw", "raw");
    for (const std::string format : {"raw", "raw.zst", "qcow2", "vhd", "vhdx", "vmdk"}) {
        const auto file = images.folder / ("out." + format);
        Progress progress;
        const Result<Digest> exported =
            images.store->export_version(info.digest, file, format, progress);
        if (!exported) FAIL(exported.error().message);
        CHECK(progress.done_bytes == progress.total_bytes);
        CHECK(*exported == Hasher().hash(read_whole(file)));
        // Compressed raw is detected; what is in it is raw by its partition table.
        const auto again =
            import_ok(*images.store, file, format == "raw.zst" ? std::string() : format);
        INFO(format);
        auto read = read_version(**images.store->open_version(again.digest));
        read.resize(images.disk.size());
        CHECK(read == images.disk);
        if (format != "vhdx") CHECK(again.digest == info.digest);  // VHDX counts in MiB
        CHECK(images.store->export_version(info.digest, file, format, progress).error().kind ==
              ErrorKind::conflict);
    }
    CHECK(std::filesystem::is_empty(images.folder / "store/spool"));
    Progress progress;
    for (const std::string format : {"iso", "dmg"})
        CHECK(images.store->export_version(info.digest, images.folder / "x", format, progress)
                  .error()
                  .kind == ErrorKind::invalid);
}

TEST_CASE("an ISO image is taken as it is, and only when it is one") {
    Images images;
    DiskBytes disc = random_bytes(40 * 2048, 9);
    write_file(images.folder / "random.iso", disc);
    CHECK_THAT(import_error(*images.store, images.folder / "random.iso", "iso").message,
               Contains("is no ISO image"));
    write_file(images.folder / "short.iso", random_bytes(2048, 9));
    CHECK_THAT(import_error(*images.store, images.folder / "short.iso", "iso").message,
               Contains("is no ISO image"));
    images.nothing_left();
    std::copy_n("\1CD001\1", 7, disc.begin() + 16 * 2048);
    for (const bool hybrid : {false, true}) {  // with a boot sector in front, as Debian's are
        if (hybrid) disc[510] = 0x55, disc[511] = 0xaa;
        write_file(images.folder / "disc.iso", disc);
        CHECK_THAT(import_error(*images.store, images.folder / "disc.iso").message,
                   Contains("the image of a disc") && Contains("format iso"));
    }
    images.nothing_left();
    for (const char* descriptor : {"\1CD001\1", "\0BEA01\1"}) {
        const std::string_view text(descriptor, 7);
        std::copy(text.begin(), text.end(), disc.begin() + 16 * 2048);
        write_file(images.folder / "disc.iso", disc);
        const VersionInfo info = import_ok(*images.store, images.folder / "disc.iso", "iso");
        CHECK(read_version(**images.store->open_version(info.digest)) == disc);
    }
}
