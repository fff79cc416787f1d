#include "manager/target_links.hpp"

namespace goldlink::manager {

PeerResult<std::map<std::string, json::object>> target_links(const Peer& target,
                                                             std::chrono::milliseconds timeout) {
    const auto answer = target.call("GET", "/links", "", timeout);
    if (!answer) return tl::unexpected(answer.error());
    auto parsed = json::parse(*answer);
    if (!parsed)
        return tl::unexpected(PeerError{
            0, "", "the target's list of links cannot be read: " + parsed.error().message});
    const json::value* list =
        parsed->is_object() ? parsed->as_object().if_contains("links") : &*parsed;
    std::map<std::string, json::object> links;
    if (list == nullptr || !list->is_array()) return links;
    for (const json::value& item : list->as_array()) {
        if (!item.is_object()) continue;
        const auto id = json::string_field(item.as_object(), "id", 1, 64);
        if (id) links[*id] = item.as_object();
    }
    return links;
}

}  // namespace goldlink::manager
