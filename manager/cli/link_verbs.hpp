// Verbs of `goldlink link` that have a file of their own.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "manager/cli/session.hpp"

namespace goldlink::cli {

void add_link_damage(CLI::App& noun, Session& session);
void add_link_rebase(CLI::App& noun, Session& session);
void add_link_set(CLI::App& noun, Session& session);
// link show --usage.
Result<> show_link_usage(const Session& session, const std::string& id,
                         std::optional<std::int64_t> lun, std::optional<std::int64_t> files);

}  // namespace goldlink::cli
