// CDBs with data-out for a device with two initiators over a RAM disk whose requests end at once or
// later, in any order, well or badly; with task management and sessions that come and go.
//
// Input: steps of a control byte and what that needs. Bits 0 to 2 say what happens (0 to 3 a
// command), bit 3 which initiator, bits 4 to 6 the task attribute, bit 7 whether the disk holds
// requests.
#include <algorithm>
#include <array>
#include <list>
#include <memory>
#include <utility>
#include <vector>

#include "common/bytes.hpp"
#include "common/check.hpp"
#include "target/scsi/device.hpp"

using namespace goldlink;

namespace {

constexpr std::size_t kDiskBytes = 64 * 1024;
constexpr std::size_t kMaxBufferBytes = 16U << 20;  // as much as a session would give, or less

class RamDisk final : public disk::Disk {
  public:
    RamDisk() : memory_(kDiskBytes) {
        geometry_.size_bytes = kDiskBytes;
        geometry_.max_atomic_bytes = kDiskBytes / 2;
    }
    const disk::Geometry& geometry() const override { return geometry_; }
    disk::Submit submit(disk::Request& request) noexcept override {
        CHECK(request.offset_bytes % 512 == 0 && request.length_bytes % 512 == 0,
              "a request of parts of sectors");
        CHECK(request.operation == disk::Operation::flush ||
                  (request.offset_bytes <= kDiskBytes &&
                   request.length_bytes <= kDiskBytes - request.offset_bytes),
              "a request past the disk's end");
        if (hold) {
            held.push_back(&request);
            return disk::Submit::pending;
        }
        run(request);
        return disk::Submit::done;
    }
    disk::Extent extent_at(std::uint64_t offset_bytes, std::uint64_t max_bytes) const override {
        CHECK(offset_bytes < kDiskBytes, "an extent past the disk's end");
        return {.length_bytes = std::min<std::uint64_t>(max_bytes, 4096),
                .mapped = offset_bytes / 4096 % 2 == 0};
    }
    void complete(std::size_t which) {
        disk::Request* request = held[which];
        held.erase(held.begin() + static_cast<std::ptrdiff_t>(which));
        run(*request);
        request->complete(*request);
    }

    bool hold = false;
    disk::Outcome outcome = disk::Outcome::ok;
    std::vector<disk::Request*> held;

  private:
    void run(disk::Request& request) {
        request.outcome = outcome;
        if (outcome != disk::Outcome::ok || request.operation == disk::Operation::flush) return;
        std::uint8_t* at = memory_.data() + request.offset_bytes;
        if (request.operation == disk::Operation::read)
            std::memcpy(request.data, at, request.length_bytes);
        else if (request.operation == disk::Operation::write)
            std::memcpy(at, request.data, request.length_bytes);
        else
            std::memset(at, 0, request.length_bytes);
    }

    disk::Geometry geometry_;
    std::vector<std::uint8_t> memory_;
};

struct Command {
    scsi::Task task;
    std::vector<std::uint8_t> buffer;  // of exactly the size that was asked for
    bool done = false;
};

class World {
  public:
    // Its clock stands, and its tokens can be guessed.
    World()
        : device_("iqn.a:fuzz", {{0, {}, disk_}},
                  {.wake = [this] { woken_ = true; },
                   .now_ms = [] { return std::uint64_t{0}; },
                   .fill_random = [](MutableBytes out) { std::ranges::fill(out, 0x5a); }}) {
        for (int i = 0; i < 2; ++i) open(i);
    }
    ~World() {
        complete_all();
        for (scsi::Nexus* nexus : nexuses_) device_.close_nexus(nexus);
        CHECK(device_.tasks_in_flight() == 0, "a task was never ended");
    }

    void run(ByteReader input) {
        while (!input.empty()) {
            const std::uint8_t control = input.u8();
            const int who = control >> 3 & 1;
            disk_->hold = (control & 0x80) != 0;
            switch (control & 7) {
                case 4:
                    if (disk_->held.empty()) break;
                    disk_->complete(input.u8() % disk_->held.size());
                    break;
                case 5:
                    manage(who, input);
                    break;
                case 6:
                    disk_->outcome = static_cast<disk::Outcome>(input.u8() % 5);
                    break;
                case 7:
                    complete_all();
                    device_.close_nexus(nexuses_[static_cast<std::size_t>(who)]);
                    open(who);
                    break;
                default:
                    command(who, control >> 4 & 7, input);
            }
            if (std::exchange(woken_, false)) device_.run_background();
            commands_.remove_if([](const Command& command) { return command.done; });
        }
    }

  private:
    void open(int who) {
        nexuses_[static_cast<std::size_t>(who)] =
            device_.open_nexus(who == 0 ? "iqn.a:one,i,0x01" : "iqn.a:two,i,0x02", 1);
    }

    void complete_all() {
        disk_->hold = false;
        while (woken_ || !disk_->held.empty()) {
            if (std::exchange(woken_, false)) device_.run_background();
            if (!disk_->held.empty()) disk_->complete(disk_->held.size() - 1);
        }
        commands_.remove_if([](const Command& command) { return command.done; });
        CHECK(commands_.empty(), "a task waits for nothing");
    }

    // A CDB, the two lengths the initiator has room for, and the first bytes of its data.
    void command(int who, int attribute, ByteReader& input) {
        if (commands_.size() == 32) return;
        Command& command = commands_.emplace_back();
        scsi::Task& task = command.task;
        const Bytes cdb = input.bytes(16);
        std::copy(cdb.begin(), cdb.end(), task.cdb.begin());
        const std::uint8_t lun = input.u8();
        task.lun = std::uint64_t{lun > 0xf0 ? lun : std::uint8_t{0}} << 48;
        task.attribute = static_cast<scsi::TaskAttribute>(attribute % 5);
        task.nexus = nexuses_[static_cast<std::size_t>(who)];
        task.offered_out = input.be16();
        task.offered_in = input.be16();
        const std::uint16_t length = input.be16();
        const Bytes data = input.bytes(std::min<std::size_t>(length, input.rest().size()));
        task.owner = &command;
        task.complete = [](scsi::Task& ended) noexcept {
            finish(*static_cast<Command*>(ended.owner));
        };
        if (device_.prepare(task) == scsi::Step::finished) return finish(command);
        const std::size_t bytes = std::max(task.data_out_length, task.data_in_length);
        if (bytes > kMaxBufferBytes) {
            device_.abandon(task);
            command.done = true;
            return;
        }
        command.buffer.resize(bytes);
        const std::size_t wanted = std::min(task.offered_out, task.data_out_length);
        std::copy_n(data.begin(), std::min(wanted, data.size()), command.buffer.begin());
        task.buffer = command.buffer.data();
        if (device_.execute(task) == scsi::Step::finished) finish(command);
    }

    static void finish(Command& command) {
        const scsi::Task& task = command.task;
        CHECK(!command.done, "a task is completed twice");
        command.done = true;
        CHECK(task.status == scsi::Status::check_condition || task.data_in_length == 0 ||
                  task.data_in_length <= command.buffer.size(),
              "more data-in than there was room for");
        std::array<std::uint8_t, 64> sense;
        CHECK(scsi::encode_sense(task.sense, task.descriptor_sense, sense) <= sense.size(),
              "sense data that is too long");
    }

    void manage(int who, ByteReader& input) {
        const auto function = static_cast<scsi::TaskManagement>(input.u8() % 9);
        const std::uint8_t which = input.u8();
        scsi::Task* referenced = nullptr;
        if (!commands_.empty()) {
            auto found = commands_.begin();
            std::advance(found, which % commands_.size());
            referenced = &found->task;
        }
        device_.manage(*nexuses_[static_cast<std::size_t>(who)], function, 0, referenced);
    }

    std::shared_ptr<RamDisk> disk_ = std::make_shared<RamDisk>();
    bool woken_ = false;
    scsi::Device device_;
    std::array<scsi::Nexus*, 2> nexuses_{};
    std::list<Command> commands_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    World().run(ByteReader({data, size}));
    return 0;
}
