// Where the leases of `--mode dhcp` are kept over a restart: one small JSON file, replaced whole.
// The DHCP thread's only.
#pragma once

#include <filesystem>
#include <vector>

#include "common/problems.hpp"
#include "common/result.hpp"
#include "pxe/leases.hpp"

namespace goldlink::pxe {

// A missing file is no leases; one that cannot be understood is set aside. Machines that still use
// an address then ask for it (RFC 2131 section 3.2) and get it again.
std::vector<Lease> load_leases(const std::filesystem::path& file, Problems& problems);
Result<> save_leases(const std::filesystem::path& file, const std::vector<Lease>& leases);

}  // namespace goldlink::pxe
