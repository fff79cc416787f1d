// Upload sets, files of the server and exports, on real folders.
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <fstream>

#include "common/file.hpp"
#include "common/hex.hpp"
#include "target/control/arrivals.hpp"
#include "target/control/export_files.hpp"
#include "target/control/server_paths.hpp"
#include "target/control/upload_spool.hpp"
#include "tests/unit/temporary_folder.hpp"

using namespace goldlink;
using namespace goldlink::control;
using Catch::Contains;
using goldlink::test::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

class Body : public http::BodyReader {
  public:
    Body(std::string text, bool breaks = false) : text_(std::move(text)), breaks_(breaks) {}
    Result<std::size_t> read(std::span<char> out) override {
        if (at_ == text_.size() && breaks_)
            return failure(ErrorKind::unavailable, "the peer is gone");
        const std::size_t n = std::min({out.size(), text_.size() - at_, std::size_t{50'000}});
        std::copy_n(text_.begin() + static_cast<std::ptrdiff_t>(at_), n, out.begin());
        at_ += n;
        return n;
    }
    std::uint64_t declared_length() const override { return breaks_ ? 0 : text_.size(); }
    std::size_t taken() const { return at_; }

  private:
    std::string text_;
    std::size_t at_ = 0;
    bool breaks_;
};

struct Spool {
    TemporaryFolder folder;
    store::SpaceAccount space{0};
    UploadSpool spool{folder.path() / "uploads", space};
    Spool() { REQUIRE(spool.open()); }
    Result<std::uint64_t> append(const std::string& file, std::uint64_t offset, std::uint64_t total,
                                 std::string text, bool breaks = false) {
        Body body(std::move(text), breaks);
        return spool.append("set", file, offset, total, body);
    }
};

void age(const fs::path& path, std::chrono::hours hours) {
    fs::last_write_time(path, fs::file_time_type::clock::now() - hours);
}

}  // namespace

TEST_CASE("a file of an upload set grows piece by piece, zeroes at its end included") {
    Spool made;
    const std::string data = std::string(300'000, 'a') + std::string(300'000, '\0');
    CHECK(made.append("a b.img", 0, 900'000, data) == 600'000U);
    CHECK(made.append("a b.img", 600'000, 900'000, std::string(300'000, 'z')) == 900'000U);
    CHECK(made.append("b", 0, 5, "hello") == 5U);
    const auto files = made.spool.files("set");
    REQUIRE(files);
    REQUIRE(files->size() == 2);
    CHECK(files->at(0).name == "a b.img");
    CHECK(files->at(0).bytes == 900'000);
    CHECK(*read_file(*made.spool.find("set", "a b.img"), 1 << 20) ==
          data + std::string(300'000, 'z'));
    CHECK(made.spool.find("set", "c").error().kind == ErrorKind::not_found);
    CHECK(made.spool.files("none")->empty());
    REQUIRE(made.spool.remove("set"));
    CHECK(made.spool.files("set")->empty());
}

TEST_CASE("what arrived of a piece that broke off stays, over a restart too") {
    Spool made;
    const auto broken = made.append("a", 0, 1000, std::string(400, 'x'), true);
    REQUIRE_FALSE(broken);
    CHECK_THAT(broken.error().message, Contains("400 bytes of a have arrived"));
    REQUIRE(made.spool.open());
    CHECK(made.spool.files("set")->at(0).bytes == 400);
    for (const std::uint64_t offset : {0U, 399U, 401U}) {
        const auto refused = made.append("a", offset, 1000, "y");
        REQUIRE_FALSE(refused);
        CHECK(refused.error().kind == ErrorKind::conflict);
        CHECK_THAT(refused.error().message, Contains("400 bytes of a have arrived"));
    }
    CHECK(made.append("a", 400, 1000, std::string(600, 'y')) == 1000U);
}

TEST_CASE("of what is to be a disk image no more is taken than shows that it is none") {
    Spool made;
    const std::string letter(400'000, 'a');
    const ExpectedImage expected{"l.img", ""};
    Body body(letter);
    const auto refused = made.spool.append("set", "l.img", 0, letter.size(), body, expected);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().kind == ErrorKind::invalid);
    CHECK_THAT(refused.error().message, Contains("l.img is no disk image"));
    CHECK(body.taken() <= 64 << 10);

    SECTION("in one request") {
        Body whole(letter);
        CHECK_THAT(made.spool.receive("one", whole, expected).error().message,
                   Contains("l.img is no disk image"));
        CHECK(whole.taken() <= 64 << 10);
        CHECK(made.spool.find("one").error().kind == ErrorKind::not_found);
    }
    SECTION("in pieces, judged when enough have come") {
        Body first(letter.substr(0, 1000)), second(letter.substr(1000));
        CHECK(made.spool.append("set", "two", 0, letter.size(), first, expected) == 1000U);
        CHECK_THAT(
            made.spool.append("set", "two", 1000, letter.size(), second, expected).error().message,
            Contains("no disk image"));
        CHECK(second.taken() <= 64 << 10);
    }
    SECTION("a disk comes whole") {
        std::string disk = letter;
        disk.replace(440, 72, 72, '\0').replace(510, 2, "\x55\xaa");
        disk += std::string(300'000, '\0');
        Body whole(disk), set(disk);
        CHECK(made.spool.receive("disk", whole, expected) == disk.size());
        CHECK(*read_file(*made.spool.find("disk"), 1 << 20) == disk);
        CHECK(made.spool.append("set", "disk", 0, disk.size(), set, expected) == disk.size());
        CHECK(*read_file(*made.spool.find("set", "disk"), 1 << 20) == disk);
    }
    SECTION("and anything where none is expected, or of no format") {
        Body parent(letter), raw(letter);
        CHECK(made.spool.append("set", "p", 0, letter.size(), parent) == letter.size());
        CHECK(made.spool.append("set", "r", 0, letter.size(), raw, ExpectedImage{"r", "raw"}) ==
              letter.size());
    }
}

TEST_CASE("a piece is bounded, and one request sends a file at a time") {
    Spool made;
    CHECK(made.append("a", 0, 10, std::string(11, 'x')).error().kind == ErrorKind::invalid);
    CHECK(made.append("a", 0, 10, std::string(11, 'x'), true).error().kind == ErrorKind::invalid);
    CHECK(made.append("b", 20, 10, "").error().kind == ErrorKind::invalid);
    CHECK(made.append("b", 0, 1ull << 60, "x").error().kind == ErrorKind::exhausted);
    for (const std::string bad : {"", "..", ".a", "a/b", "a\\b", "a\nb"})
        CHECK(made.append(bad, 0, 1, "x").error().kind == ErrorKind::invalid);
    REQUIRE(made.append("c", 0, 10, "x"));
    const FileDescriptor held(::open((made.folder.path() / "uploads/set/c").c_str(), O_RDONLY));
    REQUIRE(::flock(held.get(), LOCK_EX) == 0);
    CHECK_THAT(made.append("c", 1, 10, "y").error().message, Contains("still sending"));
}

TEST_CASE("what nobody added to for a week is removed, what is still sent stays") {
    Spool made;
    REQUIRE(made.append("a", 0, 10, "x"));
    const fs::path uploads = made.folder.path() / "uploads";
    std::ofstream(uploads / "old.raw") << "x";
    age(uploads / "set", std::chrono::hours(24 * 8));
    age(uploads / "old.raw", std::chrono::hours(24 * 8));
    REQUIRE(made.spool.open());
    CHECK(fs::exists(uploads / "set/a"));
    CHECK_FALSE(fs::exists(uploads / "old.raw"));
    age(uploads / "set/a", std::chrono::hours(24 * 8));
    age(uploads / "set", std::chrono::hours(24 * 8));
    REQUIRE(made.spool.open());
    CHECK(fs::is_empty(uploads));
}

TEST_CASE("only files below allowed folders may be imported by path") {
    TemporaryFolder folder;
    fs::create_directories(folder.path() / "in/sub");
    fs::create_directories(folder.path() / "out");
    std::ofstream(folder.path() / "in/sub/a.raw") << "x";
    std::ofstream(folder.path() / "out/b.raw") << "x";
    fs::create_symlink(folder.path() / "out/b.raw", folder.path() / "in/link.raw");
    fs::create_directory_symlink(folder.path() / "out", folder.path() / "in/down");
    const ServerPaths paths({folder.path() / "none", folder.path() / "in"});
    const auto check = [&](const std::string& path) {
        return paths.check((folder.path() / path).string());
    };
    CHECK(*check("in/sub/a.raw") == folder.path() / "in/sub/a.raw");
    CHECK(*check("in/sub/../sub/./a.raw") == folder.path() / "in/sub/a.raw");
    for (const std::string bad : {"out/b.raw", "in/../out/b.raw", "in", "inside", ""})
        CHECK(check(bad).error().kind == ErrorKind::denied);
    for (const std::string link : {"in/link.raw", "in/down/b.raw"})
        CHECK_THAT(check(link).error().message, Contains("symbolic link"));
    CHECK(check("in/none").error().kind == ErrorKind::not_found);
    CHECK(check("in/sub").error().kind == ErrorKind::invalid);
    CHECK_THAT(ServerPaths({}).check("/a").error().message, Contains("--import-dir"));
}

TEST_CASE("an export is kept for a day under its task's id") {
    TemporaryFolder folder;
    ExportFiles exports(folder.path() / "exports");
    REQUIRE(exports.open());
    const std::string id = random_uuid();
    CHECK(exports.find(id).error().kind == ErrorKind::not_found);
    CHECK(exports.find("../../etc/passwd").error().kind == ErrorKind::not_found);
    CHECK_FALSE(exports.begin("x"));
    const auto file = exports.begin(id);
    REQUIRE(file);
    std::ofstream(*file) << "disk";
    CHECK(*exports.find(id) == *file);
    age(*file, std::chrono::hours(25));
    REQUIRE(exports.open());
    CHECK_FALSE(exports.find(id));
    std::ofstream(*exports.begin(id)) << "disk";
    REQUIRE(exports.remove(id));
    REQUIRE(exports.remove(id));
    CHECK_FALSE(exports.find(id));
}

TEST_CASE("raw disks among the uploads are stored while they come, for one import each") {
    Spool made;
    const auto store = store::ImageStore::open(made.folder.path() / "store");
    REQUIRE(store);
    Arrivals arrivals(**store);
    const auto append = [&](const std::string& set, const std::string& text, std::uint64_t from,
                            std::uint64_t total) {
        ExpectedImage expected{"disk", "raw", [&, total](int fd, std::uint64_t bytes) {
                                   arrivals.arrived(Arrivals::key_of(set, "disk"), fd, bytes,
                                                    total);
                               }};
        Body body(text);
        const auto there = made.spool.append(set, "disk", from, total, body, expected);
        if (!there) FAIL(set << ": " << there.error().message);
        CHECK(*there == from + text.size());
    };
    const std::string disk(3 << 20, 'd');
    append("a", disk.substr(0, 1'000'000), 0, disk.size());
    append("a", disk.substr(1'000'000), 1'000'000, disk.size());
    append("packed", "\x1f\x8b\x08" + disk, 0, disk.size() + 3);
    append("b", disk, 0, disk.size());
    append("late", disk, 0, disk.size());
    CHECK_FALSE(arrivals.take(Arrivals::key_of("packed", "disk")));
    CHECK_FALSE(arrivals.take(Arrivals::key_of("late", "disk")));
    CHECK_FALSE(arrivals.take(Arrivals::key_of("a")));
    const auto a = arrivals.take(Arrivals::key_of("a", "disk"));
    REQUIRE(a);
    CHECK_FALSE(arrivals.take(Arrivals::key_of("a", "disk")));
    store::Progress progress;
    CHECK(*a->sha256(progress) == Hasher().hash(as_bytes(disk)));
    const auto file =
        FileDescriptor(::open(made.spool.find("a", "disk")->c_str(), O_RDONLY | O_CLOEXEC));
    CHECK(a->is_of(file.get()));
    arrivals.drop("b");
    CHECK_FALSE(arrivals.take(Arrivals::key_of("b", "disk")));
}
