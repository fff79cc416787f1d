// The file of a disk's persistent reservations: round trip, what is damaged, bounds.
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <random>

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

TEST_CASE("a unit state with the name of an initiator that is no UTF-8 opens, the name replaced") {
    const Folder folder;
    std::string text =
        unit_state_text({{{"iqn.evil:??,i,0x400001370000", 1, 7, false, true}}, 3, {}});
    text.replace(text.find("??"), 2, "\xff\xfe");  // as it was written once
    std::ofstream(folder.path / "unit.json") << text;
    const auto loaded = load_unit_state(folder.path);
    REQUIRE(loaded);
    REQUIRE(loaded->registrations.size() == 1);
    CHECK(loaded->registrations[0].initiator_port ==
          "iqn.evil:\xef\xbf\xbd\xef\xbf\xbd,i,0x400001370000");
    CHECK(loaded->registrations[0].holder);
    CHECK(loaded->reservation_type == 3);
}

TEST_CASE("whatever the names of initiators are, the unit state that is kept is read") {
    const Folder folder;
    std::mt19937 random(1);
    for (int i = 0; i < 2000; ++i) {
        scsi::PersistentUnit state;
        for (auto n = random() % 4; n > 0; --n) {
            std::string name(1 + random() % 243, ' ');
            for (char& c : name) c = static_cast<char>(1 + random() % 255);
            state.registrations.push_back({name, 1, random() + 1ULL, false, false});
        }
        const auto kept = parse_unit_state(unit_state_text(state));
        REQUIRE(kept);
        REQUIRE(kept->registrations.size() == state.registrations.size());
        REQUIRE(*parse_unit_state(unit_state_text(*kept)) == *kept);
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
