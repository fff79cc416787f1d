// Compressed images and archives: imported as what is in them; what grows without end is stopped.
#include "image_folder.hpp"
#include "target/store/archive.hpp"
#include "target/store/unpack.hpp"

using namespace goldlink;
using namespace goldlink::store;
using namespace goldlink::store::test;
using Catch::Contains;

TEST_CASE("compressed images import as what is in them") {
    ImageFolder made;
    const std::string expected = made.digest_of(made.base);
    made.convert("base.raw", "disk.qcow2", {"-O", "qcow2"});
    for (const std::string inside : {"base.raw", "disk.qcow2"}) {
        for (const std::string program : {"gzip -c", "bzip2 -c", "xz -c -0", "zstd -c -q"}) {
            INFO(inside << " by " << program);
            const auto packed = made.folder / (inside + ".packed");
            command({"sh", "-c",
                     program + " " + (made.folder / inside).string() + " > " + packed.string()});
            const auto info = made.import({packed, ""});
            if (!info) FAIL(info.error().message);
            CHECK(info->digest == expected);
            std::filesystem::resize_file(packed, std::filesystem::file_size(packed) / 2);
            CHECK_THAT(made.import({packed, ""}).error().message,
                       Contains("damaged, cut short or no whole"));
        }
    }
}

TEST_CASE("zstd's frames to be skipped may stand first, between and last") {
    ImageFolder made;
    const std::string skip = "printf '\\x5e\\x2a\\x4d\\x18\\x05\\x00\\x00\\x00hello'; ",
                      base = (made.folder / "base.raw").string(),
                      first = "head -c 5000000 " + base + " | zstd -qc; ",
                      second = "tail -c +5000001 " + base + " | zstd -qc; ";
    const auto packed = made.folder / "packed";
    for (const std::string& parts :
         {skip + first + second, first + skip + second + skip, skip + skip + first + second}) {
        command({"bash", "-c", "(" + parts + ") > " + packed.string()});
        const auto info = made.import({packed, ""});
        if (!info) FAIL(info.error().message);
        CHECK(info->digest == made.digest_of(made.base));
    }
}

TEST_CASE("the one disk image of an archive imports, whatever it is called and packed in") {
    ImageFolder made;
    const std::string expected = made.digest_of(made.base);
    const auto run = [&](const std::string& line) {
        command({"bash", "-c", "cd " + made.folder.path().string() + "; " + line});
    };
    made.convert("base.raw", "disk1.vmdk", {"-O", "vmdk", "-o", "subformat=streamOptimized"});
    run("echo '<Envelope/>' > a.ovf; echo read me > 'read me.txt'; mkdir -p 'pc [1]*'; "
        "cp base.raw 'pc [1]*/d\u00efsk ?.raw'; gzip -k base.raw; "
        "tar cf a.ova a.ovf disk1.vmdk; tar cf deep.tar 'pc [1]*' 'read me.txt'; "
        "tar cf deep.tar.xz -J base.raw; tar cf gz.tar base.raw.gz 'read me.txt'; "
        "bsdtar --format zip -cf a.zip 'read me.txt' 'pc [1]*'; cp base.raw bare; "
        "bsdtar --format zip -cf bare.zip bare");
    for (const std::string name :
         {"a.ova", "deep.tar", "deep.tar.xz", "gz.tar", "a.zip", "bare.zip"}) {
        INFO(name);
        const auto info = made.import({made.folder / name, ""});
        if (!info) FAIL(info.error().message);
        auto read = read_version(**made.store->open_version(info->digest));
        read.resize(made.base.size());
        CHECK(read == made.base);
        if (name != "a.ova") CHECK(info->digest == expected);  // VMDK rounds the disk up
        const auto cut = made.folder / ("cut." + name);
        std::filesystem::copy_file(made.folder / name, cut);
        std::filesystem::resize_file(cut, std::filesystem::file_size(cut) / 2);
        CHECK_THAT(made.import({cut, ""}).error().message,
                   Contains("cut." + name + " is damaged, cut short or no whole"));
    }
}

TEST_CASE("which file of an archive is the disk is not guessed") {
    CHECK(*choose_disk({"a/", "a/win11.VHDX.gz", "a/notes.txt"}, "x.zip") == "a/win11.VHDX.gz");
    CHECK(*choose_disk({"image", "__MACOSX/._image"}, "x.zip") == "image");
    const auto why = [](const std::vector<std::string>& members) {
        const auto chosen = choose_disk(members, "x.zip");
        return chosen ? "took " + *chosen : chosen.error().message;
    };
    CHECK_THAT(why({"a.vmdk", "a-flat.vmdk", "a.ovf"}),
               Contains("2 disk images (a.vmdk, a-flat.vmdk)"));
    CHECK_THAT(why({"a.txt", "b.txt"}), Contains("no disk image in it (a.txt, b.txt)"));
    CHECK_THAT(why({"a/"}), Contains("it is empty"));
    CHECK_THAT(why(std::vector<std::string>(900, std::string(5000, 'x'))), Contains(", ..."));
    ImageFolder made;
    command({"bash", "-c",
             "cd " + made.folder.path().string() +
                 "; tar cf a.tar base.raw; tar cf b.tar a.tar; "
                 "tar cf - base.raw | gzip > c.img; gzip -c c.img > d.img.gz"});
    CHECK_THAT(made.import({made.folder / "b.tar", ""}).error().message,
               Contains("an archive in an archive"));
    CHECK_THAT(made.import({made.folder / "d.img.gz", ""}).error().message,
               Contains("compressed twice"));
}

TEST_CASE("a packed parent is not taken for a raw disk") {
    ImageFolder made;
    const auto base = made.convert("base.raw", "base.qcow2", {"-O", "qcow2"});
    const auto top = made.folder / "top.qcow2";
    command(
        {"qemu-img", "create", "-f", "qcow2", "-F", "qcow2", "-b", base.string(), top.string()});
    command({"bash", "-c", "gzip -c " + base.string() + " > " + (made.folder / "z").string()});
    std::filesystem::rename(made.folder / "z", base);
    CHECK_THAT(made.import({top, "", {base}}).error().message, Contains("is packed (gzip)"));
}

TEST_CASE("what is compressed twice, and what holds no disk, is refused") {
    ImageFolder made;
    command({"sh", "-c",
             "gzip -c " + (made.folder / "base.raw").string() + " | zstd -q > " +
                 (made.folder / "a.gz.zst").string()});
    CHECK_THAT(made.import({made.folder / "a.gz.zst", ""}).error().message,
               Contains("compressed twice"));
    command({"sh", "-c", "head -c 5000 /dev/zero | gzip > " + (made.folder / "a.gz").string()});
    CHECK_THAT(made.import({made.folder / "a.gz", ""}).error().message, Contains("no disk image"));
    command({"sh", "-c", "gzip < /dev/null > " + (made.folder / "b.gz").string()});
    CHECK_THAT(made.import({made.folder / "b.gz", ""}).error().message, Contains("is empty"));
    CHECK(made.store->list()->empty());
}

TEST_CASE("a compressed image that unpacks past its bounds is stopped") {
    TemporaryFolder folder;
    command({"sh", "-c", "head -c 40000000 /dev/zero | gzip > " + (folder / "bomb.gz").string()});
    command({"sh", "-c", "head -c 40000000 /dev/urandom | gzip > " + (folder / "big.gz").string()});
    write_file(folder / "out", {});
    const auto run = [&](const char* name, const UnpackLimits& limits, Progress& progress) {
        const int fd = ::open((folder / name).c_str(), O_RDONLY | O_CLOEXEC);
        auto done = unpack(fd, name, "gzip", folder / "out", limits, progress);
        ::close(fd);
        return done;
    };
    Progress progress;
    UnpackLimits limits;
    limits.max_bytes = 1 << 20;
    auto done = run("bomb.gz", limits, progress);
    REQUIRE_FALSE(done);
    CHECK(done.error().kind == ErrorKind::invalid);
    CHECK_THAT(done.error().message, Contains("bomb.gz unpacks to more than 1048576 bytes"));
    CHECK(progress.done_bytes <= 1 << 20);
    // Zeros take no space, other bytes take what there is.
    limits = {};
    limits.spare_bytes = 1ull << 60;
    CHECK(run("bomb.gz", limits, progress));
    done = run("big.gz", limits, progress);
    REQUIRE_FALSE(done);
    CHECK(done.error().kind == ErrorKind::exhausted);
    limits = {};
    progress.cancel = true;
    CHECK(run("bomb.gz", limits, progress).error().kind == ErrorKind::cancelled);
}
