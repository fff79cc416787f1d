// What an overlay may take: quotas, what is told as they fill up, and what is refused.
#include "link_disk_room.hpp"

using namespace goldlink;
using namespace goldlink::disk;
using namespace goldlink::disk::test;

TEST_CASE("a quota ends in out of space, warns before, and never in corruption") {
    Room room(Policy::discard);
    room.options.quota_bytes = 10 * kBlock;
    auto disk = room.open();
    std::vector<int> warnings;
    disk->on_space_warning = [&warnings](int percent) { warnings.push_back(percent); };
    for (std::uint64_t i = 0; i < 9; ++i)
        room.write(*disk, i * 2 * kBlock, random_bytes(kBlock, i));
    CHECK(warnings == std::vector<int>{80});
    room.write(*disk, 18 * kBlock, random_bytes(kBlock, 9));
    CHECK(warnings == std::vector<int>{80, 100});
    auto data = random_bytes(kBlock, 50);
    CHECK(perform(room.loop, *disk, Operation::write, 100 * kBlock, kBlock, data.data()) ==
          Outcome::out_of_space);
    CHECK(warnings == std::vector<int>{80, 100, 100});  // now it is refused
    CHECK(room.whole(*disk) == room.base);
    room.write(*disk, 0, random_bytes(kBlock, 51));  // an overwrite needs no space
    REQUIRE(perform(room.loop, *disk, Operation::unmap, 0, kBlock) == Outcome::ok);
    std::fill_n(room.base.begin(), kBlock, std::uint8_t{0});
    room.write(*disk, 100 * kBlock, data);
    CHECK(room.whole(*disk) == room.base);
}

TEST_CASE("a quota that is raised lets writes go on, a lowered one refuses new blocks only") {
    Room room(GENERATE(Policy::discard, Policy::keep));
    room.options.quota_bytes = 10 * kBlock;
    auto disk = room.open();
    std::vector<int> warnings;
    disk->on_space_warning = [&warnings](int percent) { warnings.push_back(percent); };
    const auto is_refused = [&](std::uint64_t block) {
        auto data = random_bytes(kBlock, 90);
        return perform(room.loop, *disk, Operation::write, block * kBlock, kBlock, data.data()) ==
               Outcome::out_of_space;
    };
    room.fill(*disk, 0, 10);
    CHECK(is_refused(10));
    warnings.clear();
    disk->set_quota(20 * kBlock);
    CHECK(disk->usage().quota_bytes == 20 * kBlock);
    CHECK(warnings.empty());
    room.fill(*disk, 10, 20);
    CHECK(warnings == std::vector<int>{80, 95});
    CHECK(is_refused(20));
    disk->set_quota(5 * kBlock);
    CHECK(is_refused(20));
    room.fill(*disk, 0, 3);  // what is there is written on
    disk->set_quota(0);
    CHECK(disk->usage().quota_bytes >= room.base.size());
    room.fill(*disk, 20, 30);
    CHECK(room.whole(*disk) == room.base);
    warnings.clear();
    disk->set_quota(30 * kBlock);  // full as soon as it is lowered
    CHECK(warnings == std::vector<int>{100});
}

TEST_CASE("an overlay warns at 80 and 95 percent, and again when it was emptied between") {
    Room room(Policy::keep);
    room.options.quota_bytes = 100 * kBlock;
    auto disk = room.open();
    std::vector<int> warnings;
    disk->on_space_warning = [&warnings](int percent) { warnings.push_back(percent); };
    const auto clear = [&](std::uint64_t from, std::uint64_t to) {
        REQUIRE(perform(room.loop, *disk, Operation::unmap, from * kBlock, (to - from) * kBlock) ==
                Outcome::ok);
    };
    room.fill(*disk, 0, 98);
    CHECK(warnings == std::vector<int>{80, 95});
    clear(93, 98);  // 93 %: not yet low enough to be told again
    room.fill(*disk, 93, 98);
    CHECK(warnings == std::vector<int>{80, 95});
    clear(85, 98);
    room.fill(*disk, 85, 98);
    CHECK(warnings == std::vector<int>{80, 95, 95});
    clear(50, 98);
    room.fill(*disk, 50, 98);
    CHECK(warnings == std::vector<int>{80, 95, 95, 80, 95});
}
