#include <catch2/catch.hpp>
#include <fstream>

#include "common/file.hpp"
#include "common/log.hpp"
#include "target/control/identity.hpp"
#include "tests/unit/temporary_folder.hpp"

using namespace goldlink;
using namespace goldlink::control;
using goldlink::test::TemporaryFolder;

namespace {

std::string content(const std::filesystem::path& path) {
    auto text = read_file(path, 10'000);
    REQUIRE(text);
    return *text;
}

void put(const std::filesystem::path& path, const std::string& text) {
    std::ofstream(path) << text;
}

struct Room {
    Room() { log::set_level(log::level::off); }
    std::unique_ptr<Identity> open() {
        auto opened = Identity::open(state.path());
        if (!opened) FAIL(opened.error().message);
        return std::move(*opened);
    }
    TemporaryFolder state;
    const std::filesystem::path overlays = state / "overlays", store = state / "store";
};

}  // namespace

TEST_CASE("a folder is marked once, and known by its marker from then on") {
    Room room;
    auto identity = room.open();
    const std::string id = identity->id();
    REQUIRE(identity->check(room.overlays, FolderKind::overlays));
    CHECK(content(room.overlays / kMarkerFile) == id + " overlays\n");
    identity = room.open();
    CHECK(identity->id() == id);
    CHECK(identity->check(room.overlays, FolderKind::overlays));

    std::filesystem::rename(room.overlays, room.state / "aside");
    for (const bool there : {false, true}) {
        if (there) std::filesystem::create_directory(room.overlays);
        const auto found = identity->check(room.overlays, FolderKind::overlays);
        REQUIRE(!found);
        CHECK(found.error().kind == ErrorKind::unavailable);
        CHECK_THAT(found.error().message, Catch::Contains("not mounted"));
        CHECK(std::filesystem::exists(room.overlays) == there);
    }
    put(room.overlays / "file", "of somebody");
    CHECK_THAT(identity->check(room.overlays, FolderKind::overlays).error().message,
               Catch::Contains(id + " overlays"));
    std::filesystem::remove_all(room.overlays);
    std::filesystem::rename(room.state / "aside", room.overlays);
    CHECK(identity->check(room.overlays, FolderKind::overlays));
}

TEST_CASE("another installation's folder, or one of another kind, is foreign") {
    Room room, other;
    auto identity = room.open();
    REQUIRE(other.open()->check(other.overlays, FolderKind::overlays));
    for (const bool known : {false, true}) {
        std::filesystem::remove_all(room.overlays);
        if (known) REQUIRE(identity->check(room.overlays, FolderKind::overlays));
        std::filesystem::remove_all(room.overlays);
        std::filesystem::copy(other.overlays, room.overlays);
        CHECK_THAT(identity->check(room.overlays, FolderKind::overlays).error().message,
                   Catch::Contains("another installation"));
    }
    REQUIRE(identity->check(room.store, FolderKind::store));
    CHECK(!identity->check(room.store, FolderKind::overlays));
}

TEST_CASE("an identity that is lost comes back from the markers, a later one is refused") {
    Room room;
    const std::string id = room.open()->id();
    REQUIRE(room.open()->check(room.overlays, FolderKind::overlays));
    const auto file = room.state / "identity";
    for (const char* text : {"", "{", "{\"format\":1,\"id\":\"x\"}"}) {
        put(file, text);
        CHECK(room.open()->id() == id);
    }
    std::filesystem::remove(file);
    CHECK(room.open()->id() == id);
    put(file, "{\"format\":2}");
    const auto later = Identity::open(room.state.path());
    REQUIRE(!later);
    CHECK_THAT(later.error().message, Catch::Contains("newer program"));
}

TEST_CASE("an empty folder that the state has data in is not marked at an upgrade") {
    Room room;
    auto identity = room.open();
    std::filesystem::create_directory(room.overlays);
    CHECK(!identity->check(room.overlays, FolderKind::overlays, true));
    CHECK(!std::filesystem::exists(room.overlays / kMarkerFile));
    put(room.overlays / "link", "");
    CHECK(identity->check(room.overlays, FolderKind::overlays, true));
}

TEST_CASE("a RAM folder that is emptied is marked anew, as what was in it is gone") {
    Room room;
    TemporaryFolder ram("/dev/shm");
    auto identity = room.open();
    REQUIRE(identity->check(ram / "overlays", FolderKind::ram));
    std::filesystem::remove_all(ram / "overlays");
    CHECK(identity->check(ram / "overlays", FolderKind::ram));
    CHECK(std::filesystem::exists(ram / "overlays" / kMarkerFile));
}
