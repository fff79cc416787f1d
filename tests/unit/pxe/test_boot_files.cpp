#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "pxe/boot_files.hpp"
#include "tests/unit/temporary_folder.hpp"

using namespace goldlink;
using namespace goldlink::pxe;
namespace fs = std::filesystem;

namespace {

struct Folders {
    goldlink::test::TemporaryFolder root;

    Folders() {
        fs::create_directories(root / "served");
        fs::create_directories(root / "elsewhere");
    }
    fs::path served() const { return root / "served"; }
    fs::path elsewhere() const { return root / "elsewhere"; }
    void write(const fs::path& path, const char* text) const {
        REQUIRE(replace_file(path, text).has_value());
    }
};

ErrorKind kind_of(const BootFiles& files, std::string_view name) {
    const auto file = files.open(name);
    REQUIRE_FALSE(file);
    return file.error().kind;
}

}  // namespace

TEST_CASE("plain files of the folder are served, with their size") {
    const Folders folders;
    folders.write(folders.served() / "undionly.kpxe", "program");
    const BootFiles files(folders.served());
    const auto file = files.open("undionly.kpxe");
    REQUIRE(file);
    CHECK(file->bytes == 7);
    CHECK(files.names() == FileNames{"undionly.kpxe"});
}

TEST_CASE("no name leads out of the folder") {
    const Folders folders;
    folders.write(folders.elsewhere() / "secret", "x");
    fs::create_directories(folders.served() / "sub");
    folders.write(folders.served() / "sub" / "inner", "x");
    folders.write(folders.served() / ".hidden", "x");
    const BootFiles files(folders.served());
    for (const std::string& name :
         {std::string("../elsewhere/secret"), std::string(".."), std::string("."), std::string(""),
          std::string("/etc/passwd"), (folders.elsewhere() / "secret").string(),
          std::string("sub/inner"), std::string("..\\secret"), std::string(".hidden"),
          std::string("a\0b", 3), std::string("a b"), std::string("undionly.kpxe\n"),
          std::string("%2e%2e"), std::string(101, 'a')}) {
        INFO(name);
        CHECK(kind_of(files, name) == ErrorKind::denied);
    }
    CHECK(kind_of(files, "missing") == ErrorKind::not_found);
    CHECK(kind_of(files, "sub") == ErrorKind::denied);
}

TEST_CASE("links may stay in the folder, and only a packaged boot program's may leave it") {
    const Folders folders;
    folders.write(folders.served() / "real.efi", "abc");
    folders.write(folders.elsewhere() / "ipxe.efi", "efi");
    folders.write(folders.elsewhere() / "secret", "x");
    fs::create_symlink("real.efi", folders.served() / "inside.efi");
    fs::create_symlink("../elsewhere/secret", folders.served() / "out.efi");
    fs::create_symlink("../elsewhere/ipxe.efi", folders.served() / "ipxe.efi");
    fs::create_symlink("../elsewhere/secret", folders.served() / "snponly.efi");
    fs::create_symlink("nowhere", folders.served() / "broken.efi");
    const BootFiles files(folders.served());
    CHECK(files.open("inside.efi")->bytes == 3);
    CHECK(files.open("ipxe.efi")->bytes == 3);
    CHECK(kind_of(files, "out.efi") == ErrorKind::denied);
    CHECK(kind_of(files, "snponly.efi") == ErrorKind::denied);  // not to a file of that name
    CHECK(kind_of(files, "broken.efi") == ErrorKind::not_found);
    CHECK(files.names() == FileNames{"inside.efi", "ipxe.efi", "real.efi"});
}

TEST_CASE("a FIFO in the folder neither blocks nor is served") {
    const Folders folders;
    REQUIRE(::mkfifo((folders.served() / "pipe").c_str(), 0600) == 0);
    CHECK(kind_of(BootFiles(folders.served()), "pipe") == ErrorKind::denied);
}
