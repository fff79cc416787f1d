// Task attributes and task management.
#include "tests/unit/scsi/scsi_rig.hpp"

using namespace goldlink;
using namespace goldlink::scsi;
using namespace goldlink::scsi::testing;
using Answer = TaskManagementAnswer;

namespace {

Command& with_attribute(Rig& rig, TaskAttribute attribute, std::uint32_t lba) {
    Command& command = rig.make(rig.first, read10(lba, 1));
    command.task.attribute = attribute;
    return command;
}

constexpr std::uint64_t kLun0 = 0;
constexpr std::uint64_t kNoSuchLun = 0x0009000000000000;

}  // namespace

TEST_CASE(
    "simple commands run side by side, an ordered one waits for the older and holds up the newer") {
    Rig rig;
    rig.disk->hold = true;
    Command& a = rig.start(with_attribute(rig, TaskAttribute::simple, 1));
    Command& b = rig.start(with_attribute(rig, TaskAttribute::untagged, 2));
    Command& ordered = rig.start(with_attribute(rig, TaskAttribute::ordered, 3));
    Command& c = rig.start(with_attribute(rig, TaskAttribute::simple, 4));
    CHECK(rig.disk->held.size() == 2);
    rig.disk->finish_one();
    CHECK(rig.disk->held.size() == 1);
    rig.disk->finish_one();
    CHECK(a.good());
    CHECK(b.good());
    REQUIRE(rig.disk->held.size() == 1);  // the ordered one alone
    CHECK_FALSE(ordered.done);
    rig.disk->finish_one();
    CHECK(ordered.good());
    REQUIRE(rig.disk->held.size() == 1);
    rig.disk->finish_one();
    CHECK(c.good());
    CHECK(c.completions == 1);
}

TEST_CASE("an ordered command holds its place while its data is still on the way") {
    Rig rig;
    Command& ordered = rig.make(rig.first, write10(0, 1), pattern(512, 1));
    ordered.task.attribute = TaskAttribute::ordered;
    REQUIRE(rig.prepare(ordered));
    Command& read = rig.run(read10(0, 1));
    CHECK_FALSE(read.done);
    rig.execute(ordered);
    CHECK(ordered.good());
    CHECK(read.good());
    CHECK(copy(read.data_in()) == pattern(512, 1));
}

TEST_CASE("head of queue starts before what waits, and the waiting wait for it") {
    Rig rig;
    rig.disk->hold = true;
    rig.start(with_attribute(rig, TaskAttribute::simple, 1));
    Command& ordered = rig.start(with_attribute(rig, TaskAttribute::ordered, 2));
    Command& head = rig.start(with_attribute(rig, TaskAttribute::head_of_queue, 3));
    CHECK(rig.disk->held.size() == 2);
    rig.disk->finish_one();
    CHECK(rig.disk->held.size() == 1);
    CHECK_FALSE(ordered.done);
    rig.disk->finish_one();
    CHECK(head.good());
    rig.disk->finish_all();
    CHECK(ordered.good());
}

TEST_CASE("an abandoned command lets the waiting go on") {
    Rig rig;
    Command& ordered = rig.make(rig.first, write10(0, 1), pattern(512, 1));
    ordered.task.attribute = TaskAttribute::ordered;
    REQUIRE(rig.prepare(ordered));
    Command& read = rig.run(rig.second, read10(0, 1));
    CHECK_FALSE(read.done);
    rig.device->abandon(ordered.task);
    CHECK(read.good());
    CHECK(rig.device->tasks_in_flight() == 0);
}

TEST_CASE("abort task marks one task, which completes once") {
    Rig rig;
    rig.disk->hold = true;
    Command& one = rig.run(read10(0, 1));
    Command& other = rig.run(read10(1, 1));
    CHECK(rig.device->manage(*rig.first, TaskManagement::abort_task, kLun0, &one.task) ==
          Answer::complete);
    CHECK(one.task.aborted);
    CHECK_FALSE(other.task.aborted);
    rig.disk->finish_all();
    CHECK(one.completions == 1);
    CHECK(rig.device->manage(*rig.first, TaskManagement::abort_task, kLun0, nullptr) ==
          Answer::task_does_not_exist);
    CHECK(rig.device->manage(*rig.first, TaskManagement::abort_task, kLun0, &one.task) ==
          Answer::task_does_not_exist);
}

TEST_CASE("an aborted command that waits or has no data yet never reaches the disk") {
    Rig rig;
    rig.disk->hold = true;
    rig.run(read10(0, 1));
    Command& waiting = rig.start(with_attribute(rig, TaskAttribute::ordered, 1));
    Command& collecting = rig.make(rig.first, write10(0, 1), pattern(512, 1));
    REQUIRE(rig.prepare(collecting));
    CHECK(rig.device->manage(*rig.first, TaskManagement::abort_task_set, kLun0, nullptr) ==
          Answer::complete);
    rig.execute(collecting);
    CHECK(collecting.done);
    rig.disk->finish_all();
    CHECK(waiting.completions == 1);
    CHECK(rig.disk->submitted.size() == 1);
    CHECK(rig.device->tasks_in_flight() == 0);
}

TEST_CASE("an aborted multi-step command stops at its next step") {
    Rig rig;
    rig.disk->hold = true;
    Command& same = rig.run(cdb(0x93).be64(2, 0).be32(10, 300), pattern(512, 1));
    REQUIRE(rig.disk->held.size() == 1);
    rig.device->manage(*rig.first, TaskManagement::abort_task, kLun0, &same.task);
    rig.disk->finish_all();
    CHECK(same.completions == 1);
    CHECK(rig.disk->submitted.size() == 1);
}

TEST_CASE("abort task set is one nexus's, clear task set is everybody's and tells them") {
    Rig rig;
    rig.disk->hold = true;
    Command& mine = rig.run(rig.first, read10(0, 1));
    Command& theirs = rig.run(rig.second, read10(1, 1));
    rig.device->manage(*rig.first, TaskManagement::abort_task_set, kLun0, nullptr);
    CHECK(mine.task.aborted);
    CHECK_FALSE(theirs.task.aborted);
    CHECK(rig.device->manage(*rig.first, TaskManagement::clear_task_set, kLun0, nullptr) ==
          Answer::complete);
    CHECK(theirs.task.aborted);
    rig.disk->hold = false;
    rig.disk->finish_all();
    CHECK(rig.run(rig.first, cdb(0x00)).good());
    CHECK(rig.run(rig.second, cdb(0x00)).sense(6, 0x2F, 0x00));
}

TEST_CASE(
    "a reset clears tasks, mode pages and the old reservation, keeps the persistent one, tells "
    "all") {
    for (const auto function :
         {TaskManagement::logical_unit_reset, TaskManagement::target_warm_reset}) {
        Rig rig;
        std::vector<std::uint8_t> select(24);
        select[4] = 0x08;
        select[5] = 18;
        REQUIRE(rig.run(cdb(0x15).u8(1, 0x10).u8(4, 24), select).good());
        REQUIRE(rig.run(rig.second, cdb(0x00)).sense(6, 0x2A, 0x01));
        REQUIRE(rig.run(cdb(0x16)).good());
        rig.disk->hold = true;
        Command& read = rig.run(read10(0, 1));
        CHECK(rig.device->manage(*rig.second, function, kLun0, nullptr) == Answer::complete);
        CHECK(read.task.aborted);
        rig.disk->hold = false;
        rig.disk->finish_all();
        for (Nexus* nexus : {rig.first, rig.second}) {
            CHECK(rig.run(nexus, cdb(0x00)).sense(6, 0x29, 0x03));
            CHECK(rig.run(nexus, cdb(0x00)).good());
        }
        CHECK(rig.run(cdb(0x1A).u8(1, 8).u8(2, 0x08).u8(4, 255)).data_in()[6] ==
              0x04);  // WCE again
    }
}

TEST_CASE("task management of a LUN that is not there, and functions we do not have") {
    Rig rig;
    CHECK(rig.device->manage(*rig.first, TaskManagement::logical_unit_reset, kNoSuchLun, nullptr) ==
          Answer::lun_does_not_exist);
    CHECK(rig.device->manage(*rig.first, TaskManagement::abort_task_set, kNoSuchLun, nullptr) ==
          Answer::lun_does_not_exist);
    CHECK(rig.device->manage(*rig.first, TaskManagement::clear_aca, kLun0, nullptr) ==
          Answer::not_supported);
    CHECK(rig.device->manage(*rig.first, TaskManagement::task_reassign, kLun0, nullptr) ==
          Answer::reassign_not_supported);
    CHECK(rig.device->manage(*rig.first, TaskManagement::target_cold_reset, kLun0, nullptr) ==
          Answer::complete);
    CHECK(rig.run(cdb(0x00)).sense(6, 0x29, 0x01));
}
