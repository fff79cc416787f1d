#include "manager/api/live_versions.hpp"

namespace goldlink::manager::api {

LiveVersions live_versions(const Services& services) {
    LiveVersions versions;
    const auto answer = services.target.call("GET", "/versions", "", std::chrono::seconds(3));
    if (!answer) return versions;
    const auto parsed = json::parse(*answer);
    if (!parsed || !parsed->is_array()) return versions;
    for (const json::value& item : parsed->as_array()) {
        if (!item.is_object()) continue;
        const auto digest = json::string_field(item.as_object(), "digest", 64, 64);
        if (digest) versions[*digest] = item.as_object();
    }
    return versions;
}

}  // namespace goldlink::manager::api
