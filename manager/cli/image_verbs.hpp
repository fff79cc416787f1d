// What the verbs of `goldlink image` share, and where they are.
// Include only from .cpp files (api.hpp).
#pragma once

#include "manager/cli/api.hpp"
#include "manager/cli/session.hpp"
#include "manager/cli/text.hpp"

namespace goldlink::cli {

std::string image_path(const std::string& name);
// The number of the version that a reference means; a bare name means channel production.
Result<std::int64_t> version_of(const json::value& image, const ImageRef& ref);
std::string check_image_name(const std::string& text);  // a validator: no channel, no version

// A size in bytes for a table; "" where there is none.
std::string size_cell(const json::value& object, std::string_view name);
// What mends a damaged version, such as win11@7.
std::string repair_advice(const std::string& subject);
// The task of a verify that has ended, and what it found.
Result<json::value> verify_version(Api& api, const std::string& image, std::int64_t number);
const json::array& findings_of(const json::value& verified);
// "pinned, 3.1 GiB of 3.1 GiB in memory"; "" for a version that is not pinned.
std::string pin_line(const json::value& version);

// Each in a file of its own.
void add_image_import(CLI::App& noun, Session& session);
void add_image_export(CLI::App& noun, Session& session);
void add_image_copies(CLI::App& noun, Session& session);  // push and pull
void add_image_health(CLI::App& noun, Session& session);  // verify
void add_image_repair(CLI::App& noun, Session& session);
void add_image_pins(CLI::App& noun, Session& session);

}  // namespace goldlink::cli
