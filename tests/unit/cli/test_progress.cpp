#include <catch2/catch.hpp>

#include "manager/cli/progress.hpp"

using goldlink::cli::progress_text;
using std::chrono::milliseconds;

TEST_CASE("progress shows percent, bar, rate and time left") {
    CHECK(progress_text("win11", 50'000'000, 200'000'000, 50'000'000, milliseconds(1000), 60) ==
          "win11:  25 % [#####                  ] 50.0 MB/s, 0:03 left");
}

TEST_CASE("progress without a terminal has no bar") {
    CHECK(progress_text("win11", 50'000'000, 200'000'000, 50'000'000, milliseconds(1000), 0) ==
          "win11:  25 % 50.0 MB/s, 0:03 left");
}

TEST_CASE("the rate counts only what was watched") {
    CHECK(progress_text("a", 150'000'000, 200'000'000, 50'000'000, milliseconds(1000), 0) ==
          "a:  75 % 50.0 MB/s, 0:01 left");
}

TEST_CASE("progress at its ends") {
    CHECK(progress_text("a", 0, 1000, 0, milliseconds(0), 0) == "a:   0 %");
    CHECK(progress_text("a", 1048576, 1048576, 1048576, milliseconds(2000), 0) ==
          "a: 100 % 0.5 MB/s, 1.0 MiB in 2.00 s");
    CHECK(progress_text("a", 1048576, 1048576, 1024, milliseconds(2000), 0) ==
          "a: 100 % of 1.0 MiB");
    // More than was announced, and a total that is not known.
    CHECK(progress_text("a", 2000, 1000, 2000, milliseconds(1000), 0).starts_with("a: 100 %"));
    CHECK(progress_text("a", 1024, 0, 1024, milliseconds(1000), 0) == "a: 1.0 KiB 0.0 MB/s");
    // 99.9 % is not yet 100.
    CHECK(progress_text("a", 999, 1000, 999, milliseconds(100), 0).starts_with("a:  99 %"));
}

TEST_CASE("a narrow terminal gets no bar instead of a broken line") {
    CHECK(progress_text("a-long-image-name", 1, 2, 1, milliseconds(1000), 20).find('[') ==
          std::string::npos);
}
