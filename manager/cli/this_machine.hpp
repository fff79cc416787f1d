// Whether a server is of this machine, whose state folder's token it may have.
#pragma once

#include <string>

namespace goldlink::cli {

// A host name counts when all of its addresses are this machine's.
bool is_this_machine(const std::string& url);

}  // namespace goldlink::cli
