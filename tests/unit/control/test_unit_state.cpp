// The file of a disk's persistent reservations: round trip, what is damaged, bounds.
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "common/hex.hpp"
#include "target/control/unit_state_file.hpp"

using namespace goldlink;
using namespace goldlink::control;

namespace {

scsi::PersistentUnit full_state() {
    scsi::PersistentUnit state;
    state.reservation_type = 3;
    for (unsigned i = 0; i < 128; ++i)
        state.registrations.push_back(
            {std::string(223, 'x') + ",i,0x40000137000" + std::to_string(i), 1,
             0xFFFFFFFFFFFFFFFF - i, i == 5, i == 7});
    state.sanitize = scsi::PersistentSanitize{true, true, std::vector<std::uint8_t>(4096, 0xA5)};
    return state;
}

struct Folder {
    std::filesystem::path path =
        std::filesystem::temp_directory_path() / ("unit-state-" + random_uuid());
    Folder() { std::filesystem::create_directories(path); }
    ~Folder() { std::filesystem::remove_all(path); }
};

}  // namespace

TEST_CASE("the fullest and the empty unit state come back from their file") {
    const Folder folder;
    auto none = load_unit_state(folder.path);
    REQUIRE(none);
    CHECK(*none == scsi::PersistentUnit{});
    for (const auto& state : {full_state(), scsi::PersistentUnit{}}) {
        REQUIRE(save_unit_state(folder.path, state));
        auto loaded = load_unit_state(folder.path);
        REQUIRE(loaded);
        CHECK(*loaded == state);
    }
}

TEST_CASE("a damaged unit state is an error that names the file and what to do") {
    const Folder folder;
    const std::string whole = unit_state_text(full_state());
    const auto replaced = [&](const std::string& from, const std::string& to) {
        std::string text = whole;
        text.replace(text.find(from), from.size(), to);
        return text;
    };
    const std::string damaged[] = {
        "",
        "{}",
        whole.substr(0, whole.size() / 2),
        replaced("\"format\":1", "\"format\":2"),
        replaced("\"reservation_type\":3", "\"reservation_type\":4"),
        replaced("\"holder\":true", "\"holder\":false"),
        replaced("\"key\":\"ffff", "\"key\":\"zfff"),
        replaced("a5a5", "a5a"),
        std::string(300 << 10, ' '),
    };
    for (const std::string& text : damaged) {
        CAPTURE(text.substr(0, 60));
        std::ofstream(folder.path / "unit.json", std::ios::trunc) << text;
        const auto loaded = load_unit_state(folder.path);
        REQUIRE_FALSE(loaded);
        CHECK(loaded.error().kind == ErrorKind::corrupt);
        CHECK(loaded.error().message.find("unit.json") != std::string::npos);
        CHECK(loaded.error().message.find("move it away") != std::string::npos);
    }
}
