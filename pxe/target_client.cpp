#include "pxe/target_client.hpp"

#include <fmt/format.h>

#include <charconv>
#include <limits>

#include "common/http/client.hpp"
#include "common/json.hpp"

namespace goldlink::pxe {

namespace {

// "10.0.0.1:3260"; a host without port means iSCSI's own.
Result<> split_portal(const std::string& portal, TargetBoot& boot) {
    boot.portal_host = portal;
    const auto colon = portal.rfind(':');
    if (colon == std::string::npos || portal.ends_with(']')) return {};
    boot.portal_host = portal.substr(0, colon);
    const char* const end = portal.data() + portal.size();
    const auto [stop, error] = std::from_chars(portal.data() + colon + 1, end, boot.portal_port);
    if (error != std::errc{} || stop != end || boot.portal_port == 0)
        return failure(ErrorKind::invalid,
                       fmt::format("the target's portal \"{}\" has no port", portal.substr(0, 64)));
    return {};
}

Result<TargetBoot> boot_from(const std::string& body) {
    GOLDLINK_TRY_ASSIGN(const auto o, json::parse_object(body));
    TargetBoot boot;
    constexpr auto kMax = std::numeric_limits<std::int64_t>::max();
    GOLDLINK_TRY_ASSIGN(const auto generation, json::int_field(o, "generation", 0, kMax));
    boot.generation = static_cast<std::uint64_t>(generation);
    GOLDLINK_TRY_ASSIGN(boot.iqn, json::string_field(o, "iqn", 1, 223));
    GOLDLINK_TRY_ASSIGN(const auto portal, json::string_field(o, "portal", 1, 255));
    GOLDLINK_TRY(split_portal(portal, boot));
    GOLDLINK_TRY_ASSIGN(const auto lun, json::int_field(o, "lun", 0, 16383));
    boot.lun = static_cast<std::uint64_t>(lun);
    GOLDLINK_TRY_ASSIGN(const auto username, json::optional_string(o, "username", 223));
    GOLDLINK_TRY_ASSIGN(const auto secret, json::optional_string(o, "secret", 223));
    boot.username = username.value_or("");
    boot.secret = secret.value_or("");
    return boot;
}

// The problem's own words where it has any.
Failure refused(const http::ClientResponse& response) {
    std::string why = fmt::format("it answered with status {}", response.status);
    if (const auto problem = json::parse_object(response.body)) {
        const auto detail = json::optional_string(*problem, "detail", 2000);
        const auto title = json::optional_string(*problem, "title", 200);
        if (detail && *detail && !(*detail)->empty())
            why = **detail;
        else if (title && *title && !(*title)->empty())
            why = **title;
    }
    const ErrorKind kind = response.status == 404   ? ErrorKind::not_found
                           : response.status == 409 ? ErrorKind::conflict
                                                    : ErrorKind::unavailable;
    return failure(kind, std::move(why));
}

}  // namespace

Result<TargetBoot> TargetClient::new_boot(const std::string& link_id, const std::string& boot_id,
                                          const std::string& initiator) const {
    if (address_.empty())
        return failure(ErrorKind::unavailable, "goldlink-pxe was started without --target-control");
    http::ClientRequest request;
    request.method = "POST";
    request.target = fmt::format("/links/{}/boots", http::percent_encode(link_id));
    request.timeout = kTargetTimeout;
    request.max_response_bytes = 64 << 10;
    request.body = json::serialize(json::object{
        {"boot_id", boot_id},
        {"initiator", initiator.empty() ? json::value(nullptr) : json::value(initiator)}});
    http::Client client(address_);
    GOLDLINK_TRY_ASSIGN(const auto response, client.send(request));
    if (response.status < 200 || response.status > 299) return refused(response);
    auto boot = boot_from(response.body);
    if (!boot) return Failure(std::move(boot).error().with_context("the target's answer"));
    return boot;
}

}  // namespace goldlink::pxe
