// `goldlink up`: PostgreSQL and the three daemons on one host, as supervised children.
#pragma once

#include <string>
#include <vector>

#include "common/result.hpp"

namespace goldlink::up {

struct Options {
    std::string state_dir = "/var/lib/goldlink";
    std::string listen = "0.0.0.0:8080";
    std::vector<std::string> portals;  // none: 0.0.0.0:3260
    std::string database_url;          // "": the embedded PostgreSQL
    std::string pxe = "off";           // off, proxy, dhcp
    std::string interface;
    std::string pxe_http;    // "": port 8081 on the interface's address
    std::string dhcp_range;  // dhcp mode, as the next two
    std::string dhcp_router;
    std::vector<std::string> dhcp_dns;
    std::vector<std::string> import_folders;    // beside import/ of the state folder
    std::vector<std::string> target_arguments;  // more options of goldlink-target, with values
    bool adopt_registry = false;  // the database is the target's registry, whatever it was before
    std::string log_level = "info";
};

// Runs until told to stop. Prints "ready URL" on stdout when everything serves; the service manager
// is told as soon as PCs are served.
Result<> run(const Options& options);

// Where clients reach the portals that were asked for: 0.0.0.0 or [::] becomes the interface's (or,
// without one, the machine's) address and loopback, the address for clients first. Exposed for its
// test.
Result<std::vector<std::string>> concrete_portals(const std::vector<std::string>& asked,
                                                  const std::string& interface);

// The address to print: 0.0.0.0 is no address to visit.
std::string url_of(const std::string& endpoint);

}  // namespace goldlink::up
