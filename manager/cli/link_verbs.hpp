// Verbs of `goldlink link` that have a file of their own.
#pragma once

#include "manager/cli/session.hpp"

namespace goldlink::cli {

void add_link_rebase(CLI::App& noun, Session& session);
void add_link_set(CLI::App& noun, Session& session);

}  // namespace goldlink::cli
