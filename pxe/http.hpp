// HTTP boot on TCP: GET /boot (the script), GET /boot/failed (iPXE's report), GET /files/{name}
// (the boot files folder). Open to the machines' network: nothing here changes anything but the
// log.
#pragma once

#include <functional>
#include <vector>

#include "common/http/server.hpp"
#include "pxe/boot_files.hpp"
#include "pxe/script_service.hpp"

namespace goldlink::pxe {

// A boot file was asked for by this client. Called on connection threads.
using HttpFileSent = std::function<void(Ipv4 client, const std::string& file, std::uint64_t bytes)>;

std::vector<http::Route> http_boot_routes(ScriptService& scripts, const BootFiles& files,
                                          Metrics& metrics, HttpFileSent on_file);

}  // namespace goldlink::pxe
