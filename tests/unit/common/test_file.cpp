#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <filesystem>

#include "common/file.hpp"
#include "common/hex.hpp"

using namespace goldlink;
namespace fs = std::filesystem;

TEST_CASE("a file is replaced whole, with its mode, and read back bounded") {
    const auto folder = fs::temp_directory_path() / ("goldlink-test-" + random_uuid());
    REQUIRE(make_directories(folder));
    const auto path = folder / "state.json";
    REQUIRE(replace_file(path, "one"));
    REQUIRE(replace_file(path, "second", 0600));
    CHECK(*read_file(path, 100) == "second");
    CHECK(read_file(path, 3).error().kind == ErrorKind::invalid);
    CHECK(read_file(folder / "none", 3).error().kind == ErrorKind::not_found);
    struct stat info {};
    REQUIRE(::stat(path.c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
    CHECK_FALSE(fs::exists(path.string() + ".new"));
    CHECK(replace_file(folder / "no" / "folder", "x").error().kind == ErrorKind::not_found);
    fs::remove_all(folder);
}
