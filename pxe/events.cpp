#include "pxe/events.hpp"

#include <boost/json.hpp>

namespace goldlink::pxe {

void BootEvents::add(const BootEvent& event) {
    const auto text_or_null = [](const std::string& text) {
        return text.empty() ? boost::json::value(nullptr) : boost::json::value(text);
    };
    boost::json::object data;
    for (const auto& [name, value] : event.data)
        if (!value.empty()) data[name] = value;
    if (event.bytes) data["bytes"] = *event.bytes;
    if (event.generation) data["generation"] = *event.generation;
    log_.append(event.kind, {{"mac", event.mac.to_string()},
                             {"client_id", text_or_null(event.client_id)},
                             {"boot_id", text_or_null(event.boot_id)},
                             {"data", std::move(data)}});
}

bool BootEvents::add_unproven(const BootEvent& event) {
    if (event.client_id.empty()) {
        const std::lock_guard lock(mutex_);
        if (!unproven_.allow(RateLimit::Time::clock::now())) return false;
    }
    add(event);
    return true;
}

}  // namespace goldlink::pxe
