#include "pxe/lease_store.hpp"

#include <limits>

#include "common/file.hpp"
#include "common/json.hpp"
#include "common/kept_file.hpp"

namespace goldlink::pxe {

namespace {

constexpr std::size_t kMaxBytes = 4 << 20;

Result<Lease> lease_from(const json::value& item) {
    const auto* o = item.if_object();
    if (o == nullptr) return failure(ErrorKind::corrupt, "a lease is not an object");
    Lease lease;
    GOLDLINK_TRY_ASSIGN(const auto address, json::string_field(*o, "address", 7, 15));
    GOLDLINK_TRY_ASSIGN(lease.address, Ipv4::parse(address));
    GOLDLINK_TRY_ASSIGN(const auto mac, json::string_field(*o, "mac", 12, 17));
    GOLDLINK_TRY_ASSIGN(lease.mac, Mac::parse(mac));
    GOLDLINK_TRY_ASSIGN(
        lease.expires, json::int_field(*o, "expires", 0, std::numeric_limits<std::int64_t>::max()));
    return lease;
}

}  // namespace

std::vector<Lease> load_leases(const std::filesystem::path& file, Problems& problems) {
    std::vector<Lease> leases;
    const auto take = [&leases](const std::string& text) -> Result<> {
        GOLDLINK_TRY_ASSIGN(const auto o, json::parse_object(text));
        GOLDLINK_TRY_ASSIGN(const auto items, json::array_field(o, "leases", kMaxPoolAddresses));
        std::vector<Lease> found;
        for (const json::value& item : items) {
            GOLDLINK_TRY_ASSIGN(Lease lease, lease_from(item));
            found.push_back(lease);
        }
        leases = std::move(found);
        return {};
    };
    load_or_set_aside(
        {file, kMaxBytes, "which machine has which address is learned anew as they ask"}, take,
        problems);
    return leases;
}

Result<> save_leases(const std::filesystem::path& file, const std::vector<Lease>& leases) {
    json::array items;
    for (const Lease& lease : leases)
        items.push_back(json::object{{"address", lease.address.to_string()},
                                     {"mac", lease.mac.to_string()},
                                     {"expires", lease.expires}});
    return replace_file(file, json::serialize(json::object{{"leases", std::move(items)}}), 0600);
}

}  // namespace goldlink::pxe
