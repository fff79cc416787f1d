// What the verbs of `goldlink image` share, and those that move image files in and out.
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

// goldlink image import and export, each in a file of its own.
void add_image_import(CLI::App& noun, Session& session);
void add_image_export(CLI::App& noun, Session& session);
void add_image_copies(CLI::App& noun, Session& session);  // push and pull

}  // namespace goldlink::cli
