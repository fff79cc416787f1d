// The TFTP service: one thread, one socket for requests and one for each transfer (its port is the
// transfer's identity, RFC 1350 section 4). Read only, octet mode, from the boot files folder
// alone. Bounds: kMaxTransfers at once, kMaxTransfersPerAddress of one client; more are told to
// come back.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/result.hpp"
#include "pxe/boot_files.hpp"
#include "pxe/metrics.hpp"
#include "pxe/udp.hpp"

namespace goldlink::pxe {

inline constexpr std::size_t kMaxTransfers = 512;
inline constexpr std::size_t kMaxTransfersPerAddress = 8;
inline constexpr std::uint16_t kTftpPort = 69;

struct TftpOptions {
    Endpoint listen{{}, kTftpPort};
    // Requests that come in on another interface get no answer; empty: any may.
    std::vector<std::string> interfaces;
};

// A file was read to its end and acknowledged. Called on the TFTP thread; must not block for long.
using NbpSent = std::function<void(Ipv4 client, const std::string& file, std::uint64_t bytes)>;

class TftpServer {
  public:
    // `files` and `metrics` outlive the server.
    static Result<std::unique_ptr<TftpServer>> start(const TftpOptions& options,
                                                     const BootFiles& files, Metrics& metrics,
                                                     NbpSent on_sent);
    ~TftpServer();  // ends its thread; transfers under way are dropped
    std::uint16_t port() const;
    // Whether its thread still takes packets. Threads: any.
    bool turns(std::chrono::milliseconds limit);

  private:
    struct State;
    explicit TftpServer(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace goldlink::pxe
