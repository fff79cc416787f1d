// LinkDefinition: what the registry wants a link to be, as the control API carries it. Values only:
// parsing with every bound checked, and writing. Threads: any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.hpp"
#include "target/disk/link_disk.hpp"
#include "target/iscsi/directory.hpp"

namespace boost::json {
class object;
}

namespace goldlink::control {

inline constexpr std::size_t kMaxLinks = 10'000;
inline constexpr std::size_t kMaxDisksPerLink = 16;
inline constexpr std::uint16_t kMaxLun = 255;
inline constexpr std::size_t kMaxCredentials = 8;
inline constexpr std::size_t kMaxInitiators = 64;

// cdrom: the version itself, an ISO image in blocks of 2,048 bytes; nobody writes to it, so it has
// no overlay.
enum class DiskType : std::uint8_t { disk, cdrom };

struct DiskDefinition {
    std::uint16_t lun = 0;
    std::string version;  // 64 hex digits
    disk::Policy policy = disk::Policy::discard;
    std::uint64_t quota_bytes = 0;  // 0: as large as the disk
    DiskType type = DiskType::disk;
    std::uint32_t logical_block_bytes = 512;  // of a disk: 512 or 4096

    bool operator==(const DiskDefinition&) const = default;
};

struct LinkDefinition {
    std::string id;  // a UUID
    std::uint64_t revision = 0;
    std::string iqn;
    std::string alias;
    std::vector<DiskDefinition> disks;  // by lun; there is a LUN 0
    std::vector<iscsi::Credential> credentials;
    std::vector<std::string> allowed_initiators;

    // `id` from the path wins over, and must equal, one in the body.
    static Result<LinkDefinition> parse(const boost::json::object& body, std::string_view id = {});
    boost::json::object to_json(bool with_secrets) const;

    bool operator==(const LinkDefinition&) const = default;

    bool refers_to(std::string_view version) const;
    const DiskDefinition* find_disk(std::uint16_t lun) const;  // null when there is none
};

std::string_view to_string(disk::Policy policy);
Result<disk::Policy> parse_policy(std::string_view text);
std::string_view to_string(DiskType type);
// Fields "type" and "logical_block_bytes" of a disk; both may be absent.
Result<DiskType> type_field(const boost::json::object& disk);
Result<std::uint32_t> block_bytes_field(const boost::json::object& disk);

// An iSCSI name as RFC 7143 4.2.7 forms it: iqn., eui. or naa., at most 223 bytes, in the folded
// (lower case) form that goes over the wire.
Result<> check_iscsi_name(std::string_view name);
// What initiators call themselves in the field: not all keep to the forms above, so only what could
// not be sent or stored is refused.
Result<> check_initiator_name(std::string_view name);
Result<> check_version_digest(std::string_view digest);

}  // namespace goldlink::control
