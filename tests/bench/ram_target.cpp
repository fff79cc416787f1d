// ram_target: portals over disks in memory, without a control plane: what the protocol engine alone
// can do, for benchmarks and for trying an initiator against it.
#include <getopt.h>
#include <sys/mman.h>

#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/check.hpp"
#include "common/log.hpp"
#include "target/iscsi/portal.hpp"
#include "target/reactor/reactor.hpp"

namespace {

using namespace goldlink;

struct Options {
    std::string listen = "127.0.0.1:3260";
    std::string credential;  // user:secret
    std::uint64_t size_mib = 1024;
    bool read_only = false;
    bool removable = false;
    unsigned targets = 1;
    unsigned reactors = 1;
    int core = -1;  // of the first reactor
};

// Anonymous memory as a disk. Pages that were never written read as zero.
class RamDisk final : public disk::Disk {
  public:
    RamDisk(std::uint64_t size_bytes, bool read_only) {
        geometry_.size_bytes = size_bytes;
        geometry_.read_only = read_only;
        void* memory = ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        CHECK(memory != MAP_FAILED, "no address space for the RAM disk");
        memory_ = static_cast<std::uint8_t*>(memory);
    }
    ~RamDisk() override { ::munmap(memory_, geometry_.size_bytes); }

    const disk::Geometry& geometry() const override { return geometry_; }

    disk::Submit submit(disk::Request& request) noexcept override {
        const std::uint64_t end = request.offset_bytes + request.length_bytes;
        if (end < request.offset_bytes || end > geometry_.size_bytes) {
            request.outcome = disk::Outcome::out_of_range;
            return disk::Submit::done;
        }
        std::uint8_t* at = memory_ + request.offset_bytes;
        switch (request.operation) {
            case disk::Operation::read:
                std::memcpy(request.data, at, request.length_bytes);
                break;
            case disk::Operation::write:
                std::memcpy(at, request.data, request.length_bytes);
                break;
            case disk::Operation::unmap:
            case disk::Operation::write_zeroes:
                std::memset(at, 0, request.length_bytes);
                break;
            case disk::Operation::flush:
                break;
        }
        request.outcome = disk::Outcome::ok;
        return disk::Submit::done;
    }

    disk::Extent extent_at(std::uint64_t, std::uint64_t max_bytes) const override {
        return {.length_bytes = max_bytes, .mapped = true};
    }

  private:
    disk::Geometry geometry_;
    std::uint8_t* memory_ = nullptr;
};

class RamEndpoint final : public iscsi::LinkEndpoint {
  public:
    RamEndpoint(const std::string& iqn, const Options& options, unsigned number,
                reactor::Reactor& reactor)
        : device_(iqn,
                  {{.lun = 0,
                    .identity = {.serial = "RAM" + std::to_string(number),
                                 .naa = 0x3000000000000000ULL + number},
                    .disk = std::make_shared<RamDisk>(options.size_mib << 20, options.read_only),
                    .removable = options.removable}},
                  seams(reactor)) {}

    scsi::Device* session_started(const iscsi::SessionInfo&, iscsi::SessionControl&) override {
        return &device_;
    }
    void session_ended(iscsi::SessionControl&, iscsi::SessionEnd) override {}
    void first_write(iscsi::SessionControl&) override {}

  private:
    scsi::DeviceSeams seams(reactor::Reactor& reactor) {
        scsi::DeviceSeams seams;
        seams.wake = [this, &reactor] { reactor.post([this] { device_.run_background(); }); };
        return seams;
    }

    scsi::Device device_;
};

class FixedDirectory final : public iscsi::Directory {
  public:
    std::map<std::string, std::shared_ptr<iscsi::TargetEntry>, std::less<>> entries;

    std::shared_ptr<const iscsi::TargetEntry> find_target(std::string_view iqn) const override {
        const auto found = entries.find(iqn);
        return found == entries.end() ? nullptr : found->second;
    }
    std::vector<std::shared_ptr<const iscsi::TargetEntry>> list_targets(
        std::string_view) const override {
        std::vector<std::shared_ptr<const iscsi::TargetEntry>> all;
        for (const auto& [iqn, entry] : entries) all.push_back(entry);
        return all;
    }
    void login_refused(std::string_view iqn, std::string_view initiator, std::string_view address,
                       std::string_view why) override {
        log::warn("{}: login of '{}' to '{}' refused: {}", address, initiator, iqn, why);
    }
};

unsigned number(const char* text) {
    unsigned value = 0;
    const auto [end, error] = std::from_chars(text, text + std::strlen(text), value);
    if (error != std::errc() || *end != '\0') {
        std::fprintf(stderr, "'%s' is no number\n", text);
        std::exit(2);
    }
    return value;
}

Options parse(int argc, char** argv) {
    static constexpr option kLong[] = {{"listen", required_argument, nullptr, 'l'},
                                       {"size-mib", required_argument, nullptr, 's'},
                                       {"targets", required_argument, nullptr, 't'},
                                       {"reactors", required_argument, nullptr, 'r'},
                                       {"core", required_argument, nullptr, 'c'},
                                       {"chap", required_argument, nullptr, 'a'},
                                       {"read-only", no_argument, nullptr, 'R'},
                                       {"removable", no_argument, nullptr, 'M'},
                                       {nullptr, 0, nullptr, 0}};
    Options options;
    for (int choice = 0; (choice = ::getopt_long(argc, argv, "", kLong, nullptr)) != -1;) {
        switch (choice) {
            case 'l':
                options.listen = optarg;
                break;
            case 's':
                options.size_mib = number(optarg);
                break;
            case 't':
                options.targets = number(optarg);
                break;
            case 'r':
                options.reactors = number(optarg);
                break;
            case 'c':
                options.core = static_cast<int>(number(optarg));
                break;
            case 'R':
                options.read_only = true;
                break;
            case 'M':
                options.removable = true;
                break;
            case 'a':
                options.credential = optarg;
                break;
            default:
                std::fprintf(stderr,
                             "ram_target [--listen A:P] [--size-mib N] [--targets N] [--reactors N]"
                             " [--core N] [--chap user:secret] [--read-only] [--removable]\n");
                std::exit(2);
        }
    }
    return options;
}

}  // namespace

int main(int argc, char** argv) {
    init_log("ram_target");
    const Options options = parse(argc, argv);

    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);

    std::vector<std::unique_ptr<reactor::Reactor>> reactors;
    std::vector<reactor::Reactor*> pointers;
    for (unsigned i = 0; i < options.reactors; ++i) {
        const int core = options.core < 0 ? -1 : options.core + static_cast<int>(i);
        reactors.push_back(std::make_unique<reactor::Reactor>(i, core));
        reactors.back()->start();
        pointers.push_back(reactors.back().get());
    }
    FixedDirectory directory;
    std::vector<std::unique_ptr<RamEndpoint>> endpoints;
    for (unsigned i = 0; i < options.targets; ++i) {
        auto entry = std::make_shared<iscsi::TargetEntry>();
        entry->iqn = "iqn.2026-11.io.goldlink:ram" + std::to_string(i);
        entry->reactor = i % options.reactors;
        if (const auto colon = options.credential.find(':'); colon != std::string::npos) {
            iscsi::Credential& credential = entry->credentials.emplace_back();
            credential.username = options.credential.substr(0, colon);
            credential.secret = options.credential.substr(colon + 1);
        }
        endpoints.push_back(
            std::make_unique<RamEndpoint>(entry->iqn, options, i, *pointers[entry->reactor]));
        entry->endpoint = endpoints.back().get();
        directory.entries[entry->iqn] = entry;
    }
    {
        iscsi::PortalSet portals(pointers, directory);
        if (const auto listening = portals.listen(options.listen); !listening) {
            log::error("{}", listening.error().message);
            return 1;
        }
        std::printf("ready %s\n", portals.addresses().front().c_str());
        std::fflush(stdout);
        int signal = 0;
        sigwait(&signals, &signal);
    }
    for (auto& reactor : reactors) reactor->stop();
    return 0;
}
