// Images of several files: made by the formats' own tools, imported as the disk they hold. Files
// that lead elsewhere are refused.
#include "image_folder.hpp"

using namespace goldlink;
using namespace goldlink::store;
using namespace goldlink::store::test;
using Catch::Contains;

namespace {

constexpr std::size_t kVhdBlockBytes = 2 << 20;

void sum_up(DiskBytes& bytes, std::size_t at, std::size_t length) {
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < length; ++i)
        if (i < at || i >= at + 4) sum += bytes[i];
    store_be32(bytes.data() + at, ~sum);
}

// Turns a dynamic VHD of qemu-img's into a differencing one over `parent`: blocks named in `absent`
// become the parent's, and of the others the first `kept` sectors are the child's.
void make_difference(const std::filesystem::path& child, const std::filesystem::path& parent,
                     const std::vector<std::size_t>& absent, std::size_t kept) {
    const auto size = std::filesystem::file_size(child);
    DiskBytes footer = bytes_at(child, size - 512, 512);
    const std::uint64_t header_at = load_be64(footer.data() + 16);
    DiskBytes header = bytes_at(child, header_at, 1024);
    const DiskBytes parent_footer = bytes_at(parent, std::filesystem::file_size(parent) - 512, 512);
    std::copy_n(parent_footer.begin() + 68, 16, header.begin() + 40);
    const std::string name = "C:\\VMs\\" + parent.filename().string();
    for (std::size_t i = 0; i < name.size(); ++i)
        header[64 + 2 * i + 1] = static_cast<std::uint8_t>(name[i]);
    sum_up(header, 36, 1024);
    put_at(child, header_at, header);
    footer[63] = 4;
    footer[68] ^= 0x5a;  // an identifier of its own
    sum_up(footer, 64, 512);
    put_at(child, size - 512, footer);
    put_at(child, 0, footer);
    const std::uint64_t table = load_be64(header.data() + 16);
    for (std::size_t block = 0; block < load_be32(header.data() + 28); ++block) {
        const DiskBytes entry = bytes_at(child, table + 4 * block, 4);
        const std::uint64_t at = std::uint64_t{load_be32(entry.data())} * 512;
        if (load_be32(entry.data()) == 0xffffffff) continue;
        if (std::find(absent.begin(), absent.end(), block) != absent.end()) {
            put_at(child, table + 4 * block, DiskBytes(4, 0xff));
            continue;
        }
        DiskBytes bitmap(kVhdBlockBytes / 512 / 8, 0);
        for (std::size_t sector = 0; sector < kept; ++sector)
            bitmap[sector / 8] |= static_cast<std::uint8_t>(0x80u >> (sector % 8));
        put_at(child, at, bitmap);
    }
}

// What the disk then is: of block 1 the parent's, of the others the first `kept` sectors `top`'s.
DiskBytes laid_over(const DiskBytes& under, const DiskBytes& top, std::size_t kept) {
    DiskBytes disk = under;
    for (std::size_t at = 0; at < disk.size(); at += kVhdBlockBytes) {
        if (at == kVhdBlockBytes) continue;
        const std::size_t length = std::min(kept * 512, disk.size() - at);
        std::copy_n(top.begin() + static_cast<std::ptrdiff_t>(at), length,
                    disk.begin() + static_cast<std::ptrdiff_t>(at));
    }
    return disk;
}

struct Differencing : ImageFolder {
    DiskBytes top = random_bytes(kDiskBytes, 21);
    std::filesystem::path parent =
        convert("base.raw", "base.vhd", {"-O", "vpc", "-o", "subformat=dynamic,force_size=on"});
    std::filesystem::path child = make_child("child.vhd", top, parent, 101);

    std::filesystem::path make_child(const std::string& name, const DiskBytes& content,
                                     const std::filesystem::path& over, std::size_t kept) {
        write_file(folder / "top.raw", content);
        auto file =
            convert("top.raw", name, {"-O", "vpc", "-o", "subformat=dynamic,force_size=on"});
        make_difference(file, over, {1}, kept);
        return file;
    }
};

}  // namespace

TEST_CASE("a differencing VHD imports as its parent with its own sectors over it") {
    Differencing made;
    const auto info = made.import({made.child, "", {made.parent}});
    if (!info) FAIL(info.error().message);
    const DiskBytes expected = laid_over(made.base, made.top, 101);
    CHECK(info->digest == made.digest_of(expected));

    SECTION("of a fixed parent, and one with another name") {
        const auto fixed = made.convert("base.raw", "other name.vhd",
                                        {"-O", "vpc", "-o", "subformat=fixed,force_size=on"});
        make_difference(made.child, fixed, {1}, 101);
        std::filesystem::rename(fixed, made.folder / "renamed.vhd");
        const auto again = made.import({made.child, "vhd", {made.folder / "renamed.vhd"}});
        if (!again) FAIL(again.error().message);
        CHECK(again->digest == info->digest);
    }
    SECTION("over a differencing one, in any order of the parents") {
        const DiskBytes newest = random_bytes(kDiskBytes, 22);
        const auto grandchild = made.make_child("grandchild.vhd", newest, made.child, 7);
        const auto again = made.import({grandchild, "", {made.parent, made.child}});
        if (!again) FAIL(again.error().message);
        CHECK(again->digest == made.digest_of(laid_over(expected, newest, 7)));
        CHECK_THAT(made.import({grandchild, "", {made.child}}).error().message,
                   Contains("child.vhd is a differencing VHD") && Contains("\"base.vhd\""));
    }
    SECTION("with files beside it") {
        const auto again = made.import({made.child, "", {}, true});
        if (!again) FAIL(again.error().message);
        CHECK(again->digest == info->digest);
    }
}

TEST_CASE("a differencing VHD without the parent it was made over is refused") {
    Differencing made;
    CHECK_THAT(made.import({made.child, ""}).error().message,
               Contains("\"base.vhd\", which was not given") && Contains("--parent"));
    make_difference(made.child, made.child, {}, 9);  // now over another disk than base.vhd
    put_at(made.child, 1536 - 1024 + 64, DiskBytes(512, 0));
    CHECK_THAT(made.import({made.child, "", {made.parent}}).error().message,
               Contains("which was not given"));
    std::filesystem::copy_file(made.parent, made.folder / "child2.vhd");
    CHECK(made.store->list()->empty());
}

TEST_CASE("a differencing VHD whose tables lie is refused") {
    Differencing made;
    const auto size = std::filesystem::file_size(made.child);
    const std::uint64_t header = load_be64(bytes_at(made.child, size - 512, 512).data() + 16);
    const std::uint64_t table = load_be64(bytes_at(made.child, header, 1024).data() + 16);
    const auto refused = [&] {
        return made.import({made.child, "", {made.parent}}).error().message;
    };
    SECTION("a block past the end") {
        put_at(made.child, table, {0x7f, 0xff, 0xff, 0xff});
        CHECK_THAT(refused(), Contains("points past its end"));
    }
    SECTION("a table past the end") {
        put_at(made.child, header + 16, DiskBytes(7, 0x7f));
        CHECK_THAT(refused(), Contains("does not fit"));
    }
    SECTION("huge blocks") {
        put_at(made.child, header + 32, {0x40, 0, 0, 0});
        CHECK_THAT(refused(), Contains("does not fit"));
    }
    SECTION("too few entries") {
        put_at(made.child, header + 28, {0, 0, 0, 1});
        CHECK_THAT(refused(), Contains("does not fit"));
    }
    SECTION("a header that is none") {
        put_at(made.child, header, {0, 0});
        CHECK_THAT(refused(), Contains("header is damaged"));
    }
    SECTION("a loop") {
        DiskBytes id = bytes_at(made.child, size - 512 + 68, 16);
        put_at(made.child, header + 40, id);
        const auto message = made.import({made.child, "", {made.child}}).error().message;
        CHECK_THAT(message, Contains("its own parent"));
    }
    CHECK(made.store->list()->empty());
}

TEST_CASE("qcow2 imports over the backing files that were named") {
    ImageFolder made;
    const auto middle = made.folder / "middle.qcow2", top = made.folder / "top.qcow2";
    const auto base = made.convert("base.raw", "base.qcow2", {"-O", "qcow2"});
    command(
        {"qemu-img", "create", "-f", "qcow2", "-F", "qcow2", "-b", base.string(), middle.string()});
    command({"qemu-io", "-f", "qcow2", "-c", "write -P 0x31 1M 512k", middle.string()});
    command(
        {"qemu-img", "create", "-f", "qcow2", "-F", "qcow2", "-b", middle.string(), top.string()});
    command({"qemu-io", "-f", "qcow2", "-c", "write -P 0x32 1280k 4k", top.string()});
    DiskBytes expected = made.base;
    std::fill_n(expected.begin() + (1 << 20), 512 << 10, std::uint8_t{0x31});
    std::fill_n(expected.begin() + (1280 << 10), 4 << 10, std::uint8_t{0x32});

    SECTION("a chain of three") {
        const auto info = made.import({top, "", {base, middle}});
        if (!info) FAIL(info.error().message);
        CHECK(info->digest == made.digest_of(expected));
    }
    SECTION("a raw base, whatever stands at its beginning") {
        DiskBytes raw = made.base;
        std::copy_n("QFI\xfb", 4, raw.begin());
        write_file(made.folder / "raw.img", raw);
        command({"qemu-img", "create", "-f", "qcow2", "-F", "raw", "-b",
                 (made.folder / "raw.img").string(), (made.folder / "over.qcow2").string()});
        const auto info = made.import({made.folder / "over.qcow2", "", {made.folder / "raw.img"}});
        if (!info) FAIL(info.error().message);
        CHECK(info->digest == made.digest_of(raw));
    }
    SECTION("one of the chain is missing") {
        CHECK_THAT(made.import({top, "", {middle}}).error().message,
                   Contains("middle.qcow2 needs its backing file") && Contains("base.qcow2"));
        CHECK(made.store->list()->empty());
    }
    SECTION("a damaged one of the chain") {
        std::filesystem::resize_file(base, std::filesystem::file_size(base) * 2 / 3);
        CHECK_THAT(made.import({top, "", {base, middle}}).error().message,
                   Contains("base.qcow2 is damaged or cut short"));
    }
    SECTION("a loop") {
        command({"qemu-img", "rebase", "-u", "-F", "qcow2", "-b", "top.qcow2", base.string()});
        CHECK_THAT(made.import({top, "", {base, middle}}).error().message,
                   Contains("base.qcow2 needs its backing file") || Contains("its own parent"));
        CHECK_THAT(made.import({top, "", {base, middle, top}}).error().message,
                   Contains("its own parent"));
    }
    SECTION("names that lead elsewhere") {
        write_file(made.folder / "secret.raw", made.base);
        for (const std::string& name :
             {(made.folder / "secret.raw").string(), std::string("../secret.raw"),
              std::string("nbd://127.0.0.1/x"),
              "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"" +
                  (made.folder / "secret.raw").string() + "\"}}"}) {
            command({"qemu-img", "rebase", "-u", "-F", "raw", "-b", name, top.string()});
            CHECK_THAT(made.import({top, "", {base, middle}}).error().message,
                       Contains("needs its backing file"));
        }
    }
    SECTION("with `beside`, a link in the folder is not followed") {
        std::filesystem::create_directory(made.folder / "in");
        std::filesystem::rename(top, made.folder / "in/top.qcow2");
        std::filesystem::create_symlink(middle, made.folder / "in/middle.qcow2");
        CHECK_THAT(made.import({made.folder / "in/top.qcow2", "", {}, true}).error().message,
                   Contains("needs its backing file"));
    }
}

TEST_CASE("an image that claims a disk larger than any is refused before space is taken for it") {
    ImageFolder made;
    command({"qemu-img", "create", "-f", "qcow2", (made.folder / "huge.qcow2").string(), "20T"});
    CHECK_THAT(made.import({made.folder / "huge.qcow2", ""}).error().message,
               Contains("huge.qcow2 says that it holds a disk of 21990232555520 bytes"));
    const auto vhd = made.convert("base.raw", "huge.vhd", {"-O", "vpc", "-o", "subformat=dynamic"});
    const auto size = std::filesystem::file_size(vhd);
    DiskBytes footer = bytes_at(vhd, size - 512, 512);
    footer[48] = 0x7f;
    sum_up(footer, 64, 512);
    put_at(vhd, size - 512, footer);
    CHECK_THAT(made.import({vhd, ""}).error().message, Contains("huge.vhd is a VHD of"));
    CHECK(made.store->list()->empty());
}

TEST_CASE("a backing file may be named as QEMU names files") {
    ImageFolder made;
    const auto base = made.convert("base.raw", "base.qcow2", {"-O", "qcow2"});
    const auto top = made.folder / "top.qcow2";
    command(
        {"qemu-img", "create", "-f", "qcow2", "-F", "qcow2", "-b", base.string(), top.string()});
    for (const std::string& name :
         {"file:" + base.string(), std::string("file:///elsewhere/base.qcow2"),
          std::string("json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":"
                      "\"/elsewhere/base.qcow2\"}}"),
          std::string("json:{\"driver\":\"qcow2\",\"file.filename\":\"base.qcow2\"}")}) {
        INFO(name);
        command({"qemu-img", "rebase", "-u", "-F", "qcow2", "-b", name, top.string()});
        const auto info = made.import({top, "", {base}});
        if (!info) FAIL(info.error().message);
        CHECK(info->digest == made.digest_of(made.base));
    }
    command({"qemu-img", "rebase", "-u", "-F", "qcow2", "-b", "json:{\"driver\":\"nbd\"}",
             top.string()});
    CHECK_THAT(made.import({top, "", {base}}).error().message, Contains("needs its backing file"));
}
