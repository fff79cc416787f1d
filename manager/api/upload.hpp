// What all ways of bringing in a version share. Include only from .cpp files.
#pragma once

#include "manager/api/routes.hpp"
#include "manager/db/connection.hpp"
#include "manager/db/rows.hpp"

namespace goldlink::manager::api {

inline constexpr std::uint64_t kMaxUploadBytes = std::uint64_t{64} << 40;

// Of a disk image to import; "" is to be detected.
Maybe<void> check_format(std::string_view format);

// The next version of the image, which is made when there is none.
Maybe<db::Version> begin_version(db::Connection& c, const std::string& name,
                                 const std::string& kind, const std::string& note);

}  // namespace goldlink::manager::api
