// Puts goldlink-pxe together: state folder, boot table, DHCP, TFTP, HTTP boot, control API; and
// takes it down in reverse. The main thread's.
#pragma once

#include <memory>

#include "common/result.hpp"
#include "pxe/options.hpp"

namespace goldlink::pxe {

class Daemon {
  public:
    // Everything listens when it returns.
    static Result<std::unique_ptr<Daemon>> start(const Options& options);
    ~Daemon();

  private:
    struct Parts;
    explicit Daemon(std::unique_ptr<Parts> parts);
    std::unique_ptr<Parts> parts_;
};

}  // namespace goldlink::pxe
