// The web console's files, and index.html for the addresses inside the console. Threads: any.
#pragma once

#include <string>

#include "common/http/server.hpp"

namespace goldlink::manager::api {

// The fallback of the HTTP server. web_dir "": there is no console, everything is 404.
http::Handler web_files(std::string web_dir);

}  // namespace goldlink::manager::api
