#include "target/control/link_definition.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>

#include "common/hex.hpp"
#include "common/json.hpp"

namespace goldlink::control {
namespace {

constexpr std::size_t kMaxIscsiName = 223;  // RFC 7143 4.2.7.1
// 12 to 16 is what every initiator takes (Windows); longer serves initiators that allow it.
constexpr std::size_t kMinSecret = 12;
constexpr std::size_t kMaxSecret = 255;
constexpr std::int64_t kMaxQuotaBytes = std::int64_t{1} << 50;

bool is_lower_alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

bool is_printable(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 127; });
}

Failure bad_name(std::string_view name, std::string_view why) {
    return failure(ErrorKind::invalid,
                   fmt::format("'{}' is no iSCSI name: {}; write iqn.2026-11.io.example:name",
                               name.substr(0, kMaxIscsiName), why));
}

Result<iscsi::Credential> parse_credential(const json::value& item) {
    if (!item.is_object()) return failure(ErrorKind::invalid, "a credential must be an object");
    const json::object& o = item.get_object();
    GOLDLINK_TRY(json::only_fields(o, {"username", "secret", "mutual_username", "mutual_secret"}));
    iscsi::Credential credential;
    GOLDLINK_TRY_ASSIGN(credential.username, json::string_field(o, "username", 1, 223));
    GOLDLINK_TRY_ASSIGN(credential.secret, json::string_field(o, "secret", kMinSecret, kMaxSecret));
    GOLDLINK_TRY_ASSIGN(const auto mutual_username,
                        json::optional_string(o, "mutual_username", 223));
    GOLDLINK_TRY_ASSIGN(const auto mutual_secret,
                        json::optional_string(o, "mutual_secret", kMaxSecret));
    credential.mutual_username = mutual_username.value_or("");
    credential.mutual_secret = mutual_secret.value_or("");
    if (credential.mutual_username.empty() != credential.mutual_secret.empty())
        return failure(ErrorKind::invalid,
                       "fields 'mutual_username' and 'mutual_secret' must both be set or neither");
    if (!credential.mutual_secret.empty() && credential.mutual_secret.size() < kMinSecret)
        return failure(
            ErrorKind::invalid,
            fmt::format("field 'mutual_secret' must have {} to {} bytes", kMinSecret, kMaxSecret));
    if (!is_printable(credential.username) || !is_printable(credential.mutual_username))
        return failure(ErrorKind::invalid,
                       "CHAP user names must be printable ASCII without spaces");
    return credential;
}

Result<DiskDefinition> parse_disk(const json::value& item) {
    if (!item.is_object()) return failure(ErrorKind::invalid, "a disk must be an object");
    const json::object& o = item.get_object();
    GOLDLINK_TRY(json::only_fields(
        o, {"lun", "version", "policy", "quota_bytes", "type", "logical_block_bytes"}));
    DiskDefinition disk;
    GOLDLINK_TRY_ASSIGN(const auto lun, json::int_field(o, "lun", 0, kMaxLun));
    disk.lun = static_cast<std::uint16_t>(lun);
    GOLDLINK_TRY_ASSIGN(disk.version, json::string_field(o, "version", 64, 64));
    GOLDLINK_TRY(check_version_digest(disk.version));
    GOLDLINK_TRY_ASSIGN(disk.type, type_field(o));
    GOLDLINK_TRY_ASSIGN(disk.logical_block_bytes, block_bytes_field(o));
    GOLDLINK_TRY_ASSIGN(const auto quota, json::optional_int(o, "quota_bytes", 1, kMaxQuotaBytes));
    disk.quota_bytes = static_cast<std::uint64_t>(quota.value_or(0));
    if (disk.type == DiskType::disk || o.contains("policy")) {
        GOLDLINK_TRY_ASSIGN(const auto policy, json::string_field(o, "policy", 1, 16));
        GOLDLINK_TRY_ASSIGN(disk.policy, parse_policy(policy));
    }
    if (disk.type == DiskType::cdrom &&
        (disk.policy != disk::Policy::discard || disk.quota_bytes != 0 ||
         o.contains("logical_block_bytes")))
        return failure(ErrorKind::invalid,
                       fmt::format("lun {} is a cdrom: nothing is written to it, so it has no "
                                   "policy but discard, no quota, and its own blocks",
                                   disk.lun));
    return disk;
}

Result<std::vector<DiskDefinition>> parse_disks(const json::object& body) {
    GOLDLINK_TRY_ASSIGN(const json::array items,
                        json::array_field(body, "disks", kMaxDisksPerLink));
    if (items.empty())
        return failure(ErrorKind::invalid, "field 'disks' must have at least one disk");
    std::vector<DiskDefinition> disks;
    for (const json::value& item : items) {
        GOLDLINK_TRY_ASSIGN(DiskDefinition disk, parse_disk(item));
        for (const DiskDefinition& other : disks)
            if (other.lun == disk.lun)
                return failure(ErrorKind::invalid, fmt::format("lun {} is given twice", disk.lun));
        disks.push_back(std::move(disk));
    }
    std::sort(disks.begin(), disks.end(),
              [](const DiskDefinition& a, const DiskDefinition& b) { return a.lun < b.lun; });
    // Initiators ask LUN 0 which others there are (SAM-5 4.7.4), and firmware boots from it.
    if (disks.front().lun != 0)
        return failure(ErrorKind::invalid, "field 'disks' has no lun 0; every link has one");
    return disks;
}

Result<std::vector<iscsi::Credential>> parse_credentials(const json::object& body) {
    std::vector<iscsi::Credential> credentials;
    if (body.contains("credentials")) {
        GOLDLINK_TRY_ASSIGN(const json::array items,
                            json::array_field(body, "credentials", kMaxCredentials));
        for (const json::value& item : items) {
            GOLDLINK_TRY_ASSIGN(iscsi::Credential credential, parse_credential(item));
            for (const iscsi::Credential& other : credentials)
                if (other.username == credential.username)
                    return failure(ErrorKind::invalid, fmt::format("user name '{}' is given twice",
                                                                   credential.username));
            credentials.push_back(std::move(credential));
        }
    }
    // RFC 7143 9.2.1: what the target proves itself with must prove no initiator.
    for (const iscsi::Credential& ours : credentials)
        for (const iscsi::Credential& theirs : credentials)
            if (!ours.mutual_secret.empty() && ours.mutual_secret == theirs.secret)
                return failure(ErrorKind::invalid,
                               fmt::format("the 'mutual_secret' of '{}' and the 'secret' of '{}' "
                                           "must differ",
                                           ours.username, theirs.username));
    return credentials;
}

Result<std::vector<std::string>> parse_initiators(const json::object& body) {
    std::vector<std::string> names;
    if (body.contains("allowed_initiators")) {
        GOLDLINK_TRY_ASSIGN(const json::array items,
                            json::array_field(body, "allowed_initiators", kMaxInitiators));
        for (const json::value& item : items) {
            if (!item.is_string())
                return failure(ErrorKind::invalid, "field 'allowed_initiators' must hold strings");
            names.emplace_back(item.get_string());
            GOLDLINK_TRY(check_initiator_name(names.back()));
        }
    }
    return names;
}

}  // namespace

std::string_view to_string(disk::Policy policy) {
    switch (policy) {
        case disk::Policy::discard:
            return "discard";
        case disk::Policy::keep:
            return "keep";
        case disk::Policy::super:
            return "super";
    }
    return "discard";
}

Result<disk::Policy> parse_policy(std::string_view text) {
    for (const auto policy : {disk::Policy::discard, disk::Policy::keep, disk::Policy::super})
        if (text == to_string(policy)) return policy;
    return failure(ErrorKind::invalid,
                   fmt::format("policy '{}' is unknown; it must be discard, keep or super", text));
}

std::string_view to_string(DiskType type) { return type == DiskType::cdrom ? "cdrom" : "disk"; }

Result<DiskType> type_field(const boost::json::object& disk) {
    GOLDLINK_TRY_ASSIGN(const auto text, json::optional_string(disk, "type", 16));
    for (const auto type : {DiskType::disk, DiskType::cdrom})
        if (text.value_or("disk") == to_string(type)) return type;
    return failure(ErrorKind::invalid,
                   fmt::format("type '{}' is unknown; it must be disk or cdrom", *text));
}

Result<std::uint32_t> block_bytes_field(const boost::json::object& disk) {
    GOLDLINK_TRY_ASSIGN(const auto bytes,
                        json::optional_int(disk, "logical_block_bytes", 512, 4096));
    if (bytes.value_or(512) != 512 && *bytes != 4096)
        return failure(ErrorKind::invalid, "field 'logical_block_bytes' must be 512 or 4096");
    return static_cast<std::uint32_t>(bytes.value_or(512));
}

Result<> check_iscsi_name(std::string_view name) {
    if (name.empty() || name.size() > kMaxIscsiName)
        return bad_name(name, fmt::format("it must have 1 to {} bytes", kMaxIscsiName));
    if (name.starts_with("eui."))
        return name.size() == 20 && std::all_of(name.begin() + 4, name.end(), is_hex)
                   ? Result<>()
                   : bad_name(name, "eui. is followed by 16 hex digits");
    if (name.starts_with("naa."))
        return (name.size() == 20 || name.size() == 36) &&
                       std::all_of(name.begin() + 4, name.end(), is_hex)
                   ? Result<>()
                   : bad_name(name, "naa. is followed by 16 or 32 hex digits");
    if (!name.starts_with("iqn.")) return bad_name(name, "it must start with iqn., eui. or naa.");
    for (const char c : name)
        if (!is_lower_alnum(c) && c != '-' && c != '.' && c != ':')
            return bad_name(name, "only a-z, 0-9, '-', '.' and ':' are allowed");
    const std::string_view rest = name.substr(4);  // yyyy-mm.authority[:string]
    const auto digit = [&rest](std::size_t i) { return rest[i] >= '0' && rest[i] <= '9'; };
    if (rest.size() < 9 || !digit(0) || !digit(1) || !digit(2) || !digit(3) || rest[4] != '-' ||
        !digit(5) || !digit(6) || rest[7] != '.')
        return bad_name(name, "iqn. is followed by a date yyyy-mm, a dot and a reversed domain");
    const int month = (rest[5] - '0') * 10 + (rest[6] - '0');
    if (month < 1 || month > 12) return bad_name(name, "its month is not 01 to 12");
    const std::string_view authority = rest.substr(8, rest.find(':', 8) - 8);
    if (authority.empty() || authority.front() == '.' || authority.back() == '.')
        return bad_name(name, "its domain is empty or has a dot at its end");
    return {};
}

Result<> check_initiator_name(std::string_view name) {
    if (name.empty() || name.size() > kMaxIscsiName || !is_printable(name) ||
        name.find(',') != std::string_view::npos)
        return failure(
            ErrorKind::invalid,
            fmt::format("'{}' is no initiator name: 1 to {} printable ASCII characters without "
                        "spaces or commas",
                        name.substr(0, kMaxIscsiName), kMaxIscsiName));
    return {};
}

Result<> check_version_digest(std::string_view digest) {
    if (digest.size() != 64 || !std::all_of(digest.begin(), digest.end(), is_hex))
        return failure(ErrorKind::invalid,
                       "a version is named by its digest, 64 lower-case hex digits");
    return {};
}

Result<LinkDefinition> LinkDefinition::parse(const boost::json::object& body, std::string_view id) {
    GOLDLINK_TRY(json::only_fields(
        body, {"id", "revision", "iqn", "alias", "disks", "credentials", "allowed_initiators"}));
    LinkDefinition link;
    if (id.empty() || body.contains("id")) {
        GOLDLINK_TRY_ASSIGN(link.id, json::string_field(body, "id", 1, 64));
        if (!id.empty() && link.id != id)
            return failure(ErrorKind::invalid,
                           fmt::format("field 'id' is {} but the path says {}", link.id, id));
    } else {
        link.id = std::string(id);
    }
    if (!is_uuid(link.id))
        return failure(ErrorKind::invalid,
                       fmt::format("link id '{}' is no UUID", link.id.substr(0, 64)));
    GOLDLINK_TRY_ASSIGN(const auto revision, json::int_field(body, "revision", 0, INT64_MAX));
    link.revision = static_cast<std::uint64_t>(revision);
    GOLDLINK_TRY_ASSIGN(link.iqn, json::string_field(body, "iqn", 1, kMaxIscsiName));
    GOLDLINK_TRY(check_iscsi_name(link.iqn));
    GOLDLINK_TRY_ASSIGN(const auto alias, json::optional_string(body, "alias", 255));
    link.alias = alias.value_or("");
    for (const char c : link.alias)
        if (static_cast<unsigned char>(c) < ' ' || c == 127)
            return failure(ErrorKind::invalid, "field 'alias' has a control character");
    GOLDLINK_TRY_ASSIGN(link.disks, parse_disks(body));
    GOLDLINK_TRY_ASSIGN(link.credentials, parse_credentials(body));
    GOLDLINK_TRY_ASSIGN(link.allowed_initiators, parse_initiators(body));
    return link;
}

boost::json::object LinkDefinition::to_json(bool with_secrets) const {
    json::object o;
    o["id"] = id;
    o["revision"] = revision;
    o["iqn"] = iqn;
    o["alias"] = alias;
    json::array disk_array;
    for (const DiskDefinition& disk : disks) {
        json::object d;
        d["lun"] = disk.lun;
        d["version"] = disk.version;
        d["policy"] = to_string(disk.policy);
        if (disk.quota_bytes != 0)
            d["quota_bytes"] = disk.quota_bytes;
        else
            d["quota_bytes"] = nullptr;
        d["type"] = to_string(disk.type);
        if (disk.type == DiskType::disk) d["logical_block_bytes"] = disk.logical_block_bytes;
        disk_array.push_back(std::move(d));
    }
    o["disks"] = std::move(disk_array);
    json::array credential_array;
    for (const iscsi::Credential& credential : credentials) {
        json::object c;
        c["username"] = credential.username;
        if (with_secrets) c["secret"] = credential.secret;
        if (!credential.mutual_username.empty()) {
            c["mutual_username"] = credential.mutual_username;
            if (with_secrets) c["mutual_secret"] = credential.mutual_secret;
        }
        credential_array.push_back(std::move(c));
    }
    o["credentials"] = std::move(credential_array);
    o["allowed_initiators"] = json::array(allowed_initiators.begin(), allowed_initiators.end());
    return o;
}

const DiskDefinition* LinkDefinition::find_disk(std::uint16_t lun) const {
    for (const DiskDefinition& disk : disks)
        if (disk.lun == lun) return &disk;
    return nullptr;
}

bool LinkDefinition::refers_to(std::string_view version) const {
    return std::any_of(disks.begin(), disks.end(),
                       [version](const DiskDefinition& disk) { return disk.version == version; });
}

}  // namespace goldlink::control
