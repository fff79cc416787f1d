// Initiator: a real iSCSI initiator's session in the simulation: it logs in, sends commands with
// data in all the ways the RFC allows, answers R2Ts and pings, manages tasks, and comes back with
// the same ISID after its connection is lost. It checks every PDU of the target: sequence numbers,
// windows, data order and lengths, one answer for a command; and tells what became of each command.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/sim/sim_storage.hpp"
#include "tests/sim/wire.hpp"

namespace goldlink::sim {

// A rule that was broken; the simulation ends and prints its seed.
struct Broken : std::runtime_error {
    using std::runtime_error::runtime_error;
};
inline void require(bool holds, const std::string& rule) {
    if (!holds) throw Broken(rule);
}

struct SimCommand {
    enum class Kind : std::uint8_t { read, write, write_same, unmap, flush, none };
    enum class End : std::uint8_t { good, not_done, unknown };
    Kind kind = Kind::none;
    std::uint64_t offset = 0;  // bytes on the disk
    std::uint64_t length = 0;
    std::vector<std::uint8_t> data;  // to be written, or as it was read

    std::uint32_t itt = 0;
    std::uint32_t transfer = 0;           // expected data transfer length
    std::vector<std::uint8_t> parameter;  // data-out that is not `data`
    std::uint32_t got = 0;
    std::uint32_t data_sn = 0;  // of Data-In, and R2TSN
    std::uint32_t asked_end = 0;
    std::uint32_t open_r2ts = 0;
    std::uint64_t begun = 0;  // turns of the initiator
    bool aborting = false;

    const std::vector<std::uint8_t>& out() const { return parameter.empty() ? data : parameter; }
};

class Initiator {
  public:
    // `ended` hears of each command once; `wire` makes a connection to the target.
    Initiator(std::string name, std::uint64_t isid, Random& random,
              std::function<std::shared_ptr<Wire>()> connect,
              std::function<void(SimCommand&, SimCommand::End)> ended);

    bool connected() const { return wire_ != nullptr; }
    bool ready() const { return logged_in_ && !logging_out_; }
    bool window_open() const { return !iscsi::sn_less(max_cmd_sn_, cmd_sn_); }
    std::size_t pending() const { return commands_.size(); }
    bool idle() const { return commands_.empty() && sequences_.empty() && tasks_.empty(); }

    void connect();
    void send(std::unique_ptr<SimCommand> command);
    void send_some();                 // a PDU of data that is due
    void receive(std::size_t bytes);  // of what the target sent
    void abort_one(bool old_only);    // ABORT TASK
    void manage(unsigned function);   // of LUN 0 or the target
    void nop();
    void logout();
    void cut();  // the connection is lost; what was sent may arrive in part
    Wire* wire() { return wire_.get(); }

  private:
    struct Sequence {  // Data-Out that is due
        std::uint32_t itt, ttt, offset, end, data_sn;
    };
    struct TaskRequest {
        unsigned function;
        std::uint32_t referenced;
        std::set<std::uint32_t> affected;
    };

    iscsi::BhsWriter begin(iscsi::Opcode opcode, std::uint8_t flags, Bytes data);
    void finish_pdu();
    void transmit(iscsi::Opcode opcode, std::uint8_t flags, Bytes data,
                  const std::function<void(iscsi::BhsWriter&)>& fill, bool immediate = false);
    void take_pdu(iscsi::Bhs bhs, Bytes data);
    void login_response(iscsi::Bhs bhs, Bytes data);
    void check_numbers(iscsi::Bhs bhs, bool takes_stat_sn);
    void data_in(iscsi::Bhs bhs, Bytes data);
    void r2t(iscsi::Bhs bhs);
    void scsi_response(iscsi::Bhs bhs, Bytes data);
    void task_response(iscsi::Bhs bhs);
    void end(std::uint32_t itt, SimCommand::End how);
    void lost();
    SimCommand& pending(std::uint32_t itt, const char* what);

    std::string name_;
    std::uint64_t isid_;
    Random& random_;
    std::function<std::shared_ptr<Wire>()> connect_;
    std::function<void(SimCommand&, SimCommand::End)> ended_;

    std::shared_ptr<Wire> wire_;
    bool logged_in_ = false;
    bool logging_out_ = false;
    bool header_digest_ = false, data_digest_ = false;
    bool initial_r2t_ = true, immediate_data_ = true;
    std::uint32_t first_burst_ = 0, max_burst_ = 0, max_r2t_ = 0, max_segment_ = 0;
    std::uint32_t cmd_sn_ = 1, max_cmd_sn_ = 1, exp_cmd_sn_ = 1, exp_stat_sn_ = 0;
    std::uint32_t next_itt_ = 1;
    std::uint64_t turns_ = 0;
    std::vector<std::uint8_t> received_;

    std::map<std::uint32_t, std::unique_ptr<SimCommand>> commands_;
    std::map<std::uint32_t, std::unique_ptr<SimCommand>> unknown_;  // until the next login
    std::set<std::uint32_t> failed_late_;  // ended by a reset, may still be told to have failed
    std::map<std::uint32_t, TaskRequest> tasks_;
    std::map<std::uint32_t, std::vector<std::uint8_t>> nops_;
    std::vector<Sequence> sequences_;
};

}  // namespace goldlink::sim
