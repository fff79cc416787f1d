#include <boost/json.hpp>
#include <catch2/catch.hpp>

#include "common/file.hpp"
#include "common/json.hpp"
#include "common/kept_file.hpp"
#include "tests/unit/temporary_folder.hpp"

using namespace goldlink;
using goldlink::test::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

Result<> only_yes(const std::string& content) {
    if (content == "yes") return {};
    return failure(ErrorKind::corrupt, "it is not yes");
}

std::vector<std::string> names_in(const fs::path& folder) {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder))
        names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
}

}  // namespace

TEST_CASE("a good file is taken, a missing one is no problem") {
    TemporaryFolder folder;
    Problems problems;
    const fs::path path = folder.path() / "file";
    CHECK_FALSE(load_or_set_aside({path, 100, "x"}, only_yes, problems));
    REQUIRE(replace_file(path, "yes"));
    CHECK(load_or_set_aside({path, 100, "x"}, only_yes, problems));
    CHECK(problems.list().empty());
    CHECK(names_in(folder.path()) == std::vector<std::string>{"file"});
}

TEST_CASE("what cannot be used keeps its content under another name, each time") {
    TemporaryFolder folder;
    Problems problems;
    const fs::path path = folder.path() / "file";
    const auto try_one = [&](const std::string& content) {
        REQUIRE(replace_file(path, content));
        CHECK_FALSE(load_or_set_aside({path, 100, "all is forgotten"}, only_yes, problems));
        CHECK_FALSE(fs::exists(path));
    };
    try_one("no");
    try_one("");
    try_one(std::string(101, 'y'));
    CHECK(names_in(folder.path()).size() == 3);
    const auto told = problems.list();
    REQUIRE(told.size() == 3);
    CHECK(told[0].area == "state");
    CHECK(told[0].message.find(path.string()) != std::string::npos);
    CHECK(told[0].message.find("it is not yes") != std::string::npos);
    CHECK(told[0].message.find("all is forgotten") != std::string::npos);
    CHECK(told[0].advice.find("file.damaged-2") != std::string::npos);
    CHECK(told[1].message.find("it is empty") != std::string::npos);
    CHECK(told[2].message.find("100 bytes") != std::string::npos);
}

TEST_CASE("a folder in a file's place, and a file in a folder's") {
    TemporaryFolder folder;
    Problems problems;
    fs::create_directories(folder.path() / "file" / "inside");
    CHECK_FALSE(load_or_set_aside({folder.path() / "file", 100, "x"}, only_yes, problems));
    CHECK_FALSE(fs::exists(folder.path() / "file"));
    REQUIRE(replace_file(folder.path() / "folder", "x"));
    CHECK(folder_or_set_aside(folder.path() / "folder", "x", problems));
    CHECK(fs::is_directory(folder.path() / "folder"));
    CHECK(problems.list().size() == 2);
    CHECK(names_in(folder.path()).size() == 3);
    CHECK_FALSE(folder_or_set_aside("/proc/no/folder", "nothing is kept", problems));
    CHECK(problems.list()[2].message.find("nothing is kept") != std::string::npos);
}

TEST_CASE("formats that are newer, older and missing are told apart from ours") {
    const auto check = [](std::string_view text) {
        return check_format(*json::parse_object(text), 2);
    };
    CHECK(check(R"({"format":2})"));
    CHECK(check(R"({"format":3})").error().message.find("start the newer program") !=
          std::string::npos);
    CHECK(check(R"({"format":1})").error().message.find("newer") == std::string::npos);
    CHECK_FALSE(check("{}"));
    CHECK_FALSE(check(R"({"format":"2"})"));
}

TEST_CASE("problems that stay are told once, those of a source while they last") {
    Problems problems;
    bool full = true;
    problems.add({"state", "a", "b"});
    problems.add({"state", "a", "b"});
    problems.add_source([&]() -> std::vector<Problem> {
        if (!full) return {};
        return {{"storage", "the disk is full", "make room"}};
    });
    CHECK(problems.list().size() == 2);
    full = false;
    CHECK(problems.list() == std::vector<Problem>{{"state", "a", "b"}});
    for (std::size_t i = 0; i < 2 * Problems::kMost; ++i)
        problems.add({"state", std::to_string(i), ""});
    CHECK(problems.list().size() == Problems::kMost);
    CHECK(boost::json::serialize(problems_json({{"x", "y", "z"}})) ==
          R"([{"area":"x","message":"y","advice":"z"}])");
}
