// The JSON shapes of openapi.yaml's schemas, made from the registry's rows. Pure.
// Include only from .cpp files (Boost.JSON).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/json.hpp"
#include "manager/api/link_standing.hpp"
#include "manager/db/rows.hpp"

namespace goldlink::manager::api {

json::object view(const db::Token& token);
// `live`: what the target says of the version; null when it does not.
json::object view(const db::Version& version, const json::object* live = nullptr);
// Takes those of this image. `live`: the target's versions by digest.
json::object view(const db::Image& image, const std::vector<db::Version>& versions,
                  const std::vector<db::Channel>& channels,
                  const std::map<std::string, json::object>& live = {});
json::object view(const db::Group& group);
json::object view(const db::Boot& boot);
json::object view(const db::Client& client, const std::vector<db::Boot>& last_boots);
json::object view(const db::Task& task);
json::object view(const db::Event& event);

struct LinkContext {
    std::optional<std::string> portal;
    bool secrets = false;
    LiveLink live;
};
json::object view(const db::Link& link, const LinkContext& context);

}  // namespace goldlink::manager::api
