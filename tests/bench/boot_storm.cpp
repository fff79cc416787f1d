// Boots many simulated clients at once: each logs in over libiscsi and sends the commands of a
// recorded boot (store/record_boot.py), `depth` at a time. Prints JSON: how long it took, for all
// and for each client.
//
//     boot_storm --portal 127.0.0.1:3260 --trace FILE --lun 0 --depth 4 --clients 100
//                --targets iqn.of:pc-{}        ({}: the client's number, from 0; without, all log
//                in to one)
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <poll.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

struct Command {
    bool write = false;
    std::uint64_t block = 0;
    std::uint32_t bytes = 0;
};

struct Options {
    std::string portal, trace, targets, username, secret;
    int lun = 0;
    unsigned depth = 4, clients = 100;
};

std::vector<Command> read_trace(const std::string& file) {
    std::ifstream in(file);
    std::vector<Command> commands;
    for (std::string line; std::getline(in, line);) {
        if (line.empty() || line[0] == '#') continue;
        char kind = 0;
        Command command;
        std::uint32_t blocks = 0;
        if (!(std::istringstream(line) >> kind >> command.block >> blocks) || blocks == 0)
            throw std::runtime_error(file + ": not a command: " + line);
        command.write = kind == 'w';
        command.bytes = blocks * 512;
        commands.push_back(command);
    }
    if (commands.empty()) throw std::runtime_error(file + ": no commands");
    return commands;
}

class Client {
  public:
    Client(const Options& options, unsigned number, const std::vector<Command>& commands,
           std::vector<unsigned char>& written)
        : options_(options), commands_(commands), written_(written) {
        context_ = iscsi_create_context(
            ("iqn.2026-11.io.goldlink:storm-" + std::to_string(number)).c_str());
        std::string target = options.targets;
        if (const auto at = target.find("{}"); at != std::string::npos)
            target.replace(at, 2, std::to_string(number));
        iscsi_set_targetname(context_, target.c_str());
        iscsi_set_session_type(context_, ISCSI_SESSION_NORMAL);
        iscsi_set_header_digest(context_, ISCSI_HEADER_DIGEST_NONE);
        if (!options.username.empty())
            iscsi_set_initiator_username_pwd(context_, options.username.c_str(),
                                             options.secret.c_str());
        iscsi_set_noautoreconnect(context_, 1);
        if (iscsi_full_connect_async(context_, options.portal.c_str(), options.lun, &connected,
                                     this) != 0)
            fail("cannot connect");
    }
    ~Client() { iscsi_destroy_context(context_); }
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    bool done() const { return finished_ == commands_.size(); }
    double seconds() const { return std::chrono::duration<double>(ended_ - started_).count(); }
    pollfd wanted() const {
        return {iscsi_get_fd(context_), static_cast<short>(iscsi_which_events(context_)), 0};
    }
    void service(short events) {
        if (iscsi_service(context_, events) != 0) fail("the connection is lost");
    }

  private:
    [[noreturn]] void fail(const char* what) {
        throw std::runtime_error(std::string(what) + ": " + iscsi_get_error(context_));
    }
    static void connected(iscsi_context*, int status, void*, void* self) {
        auto& client = *static_cast<Client*>(self);
        if (status != 0) client.fail("no login");
        client.started_ = Clock::now();
        for (unsigned i = 0; i < client.options_.depth; ++i) client.send_next();
    }
    static void answered(iscsi_context*, int status, void* command, void* self) {
        auto& client = *static_cast<Client*>(self);
        if (status != SCSI_STATUS_GOOD) client.fail("a command failed");
        scsi_free_scsi_task(static_cast<scsi_task*>(command));
        if (++client.finished_ == client.commands_.size())
            client.ended_ = Clock::now();
        else
            client.send_next();
    }
    void send_next() {
        if (sent_ == commands_.size()) return;
        const Command& command = commands_[sent_++];
        scsi_task* task =
            command.write
                ? iscsi_write16_task(context_, options_.lun, command.block, written_.data(),
                                     command.bytes, 512, 0, 0, 0, 0, 0, &answered, this)
                : iscsi_read16_task(context_, options_.lun, command.block, command.bytes, 512, 0, 0,
                                    0, 0, 0, &answered, this);
        if (task == nullptr) fail("a command cannot be sent");
    }

    const Options& options_;
    const std::vector<Command>& commands_;
    std::vector<unsigned char>& written_;  // what all writes carry
    iscsi_context* context_ = nullptr;
    std::size_t sent_ = 0, finished_ = 0;
    Clock::time_point started_, ended_;
};

int run(const Options& options) {
    const std::vector<Command> commands = read_trace(options.trace);
    std::uint32_t largest = 0;
    std::uint64_t read_bytes = 0;
    for (const Command& command : commands) {
        largest = std::max(largest, command.bytes);
        if (!command.write) read_bytes += command.bytes;
    }
    std::vector<unsigned char> written(largest, 0xA5);
    const Clock::time_point begin = Clock::now();
    std::vector<std::unique_ptr<Client>> clients;
    for (unsigned i = 0; i < options.clients; ++i)
        clients.push_back(std::make_unique<Client>(options, i, commands, written));
    std::vector<pollfd> wanted;
    std::vector<Client*> running;
    for (;;) {
        wanted.clear();
        running.clear();
        for (const auto& client : clients) {
            if (client->done()) continue;
            running.push_back(client.get());
            wanted.push_back(client->wanted());
        }
        if (running.empty()) break;
        if (::poll(wanted.data(), wanted.size(), 60'000) <= 0)
            throw std::runtime_error("nothing has answered for a minute");
        for (std::size_t i = 0; i < running.size(); ++i)
            if (wanted[i].revents != 0) running[i]->service(wanted[i].revents);
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    std::vector<double> each;
    for (const auto& client : clients) each.push_back(client->seconds());
    std::sort(each.begin(), each.end());
    std::printf(
        "{\"clients\": %zu, \"commands\": %zu, \"read_bytes\": %llu, \"seconds\": %.4f, "
        "\"client_median\": %.4f, \"client_worst\": %.4f}\n",
        clients.size(), commands.size(), static_cast<unsigned long long>(read_bytes), seconds,
        each[each.size() / 2], each.back());
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    Options options;
    CLI::App app("Many simulated clients boot at once.", "boot_storm");
    app.add_option("--portal", options.portal)->required();
    app.add_option("--trace", options.trace)->required();
    app.add_option("--targets", options.targets)->required();
    app.add_option("--username", options.username, "for CHAP");
    app.add_option("--secret", options.secret);
    app.add_option("--lun", options.lun);
    app.add_option("--depth", options.depth)->check(CLI::Range(1u, 64u));
    app.add_option("--clients", options.clients)->check(CLI::Range(1u, 1000u));
    CLI11_PARSE(app, argc, argv);
    try {
        return run(options);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "boot_storm: %s\n", error.what());
        return 1;
    }
}
