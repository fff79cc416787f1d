// The TFTP service: one thread, one socket for requests and one for each transfer (its port is the
// transfer's identity, RFC 1350 section 4). Read only, octet mode, from the boot files folder
// alone.
//
// Bounds: kMaxTransfers at once, of which some are kept for machines of the boot table, and
// kMaxTransfersPerAddress of one client. Where they are reached, the transfer that stands still
// longest gives its place; when all go on, the client is told to come back. Requests whose sender
// never answers (it may be forged) hold at most kMaxUnanswered, and the oldest gives way.
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
inline constexpr std::size_t kReservedTransfers = 64;  // for who is in the boot table
inline constexpr std::size_t kMaxUnanswered = 256;
inline constexpr std::size_t kMaxTransfersPerAddress = 8;
inline constexpr std::uint16_t kTftpPort = 69;

struct TftpOptions {
    Endpoint listen{{}, kTftpPort};
    // Requests that come in on another interface get no answer; empty: any may.
    std::vector<std::string> interfaces;
    // Whether a machine of the boot table has this address. Called on the TFTP thread, and only
    // when places are short.
    std::function<bool(Ipv4)> is_known;
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
