// The disks of a link as callers name them: those POST /links adds beside LUN 0, and the one that a
// reset, a commit or a save is of. Pure but for resolve_disks.
// Include only from .cpp files (Boost.JSON).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "manager/api/input.hpp"
#include "manager/db/links.hpp"

namespace goldlink::manager::api {

inline constexpr std::size_t kMaxDisksPerLink = 16;  // LUN 0 included; the target's own bound
inline constexpr std::int64_t kMaxLun = 255;

struct WantedDisk {
    std::int64_t lun = 0;
    ImageReference image;
    std::optional<std::string> policy;
    std::optional<std::int64_t> quota_bytes;
    std::optional<std::int64_t> logical_block_bytes;
};

// Field "logical_block_bytes": 512 or 4096; nullopt when it is absent.
Maybe<std::optional<std::int64_t>> block_bytes_field(const json::object& body);
// Field "quota_bytes"; nullopt when it is absent or null: as large as the disk.
Maybe<std::optional<std::int64_t>> quota_field(const json::object& body);
// Field "disks": those beside LUN 0, which field "image" names. Absent: none.
Maybe<std::vector<WantedDisk>> disks_field(const json::object& body);
Maybe<std::vector<db::NewDisk>> resolve_disks(db::Connection& c,
                                              const std::vector<WantedDisk>& disks);
// The disk over an image; refuses what a disc cannot have. `policy`: where `wanted` has none.
Maybe<db::NewDisk> make_disk(const WantedDisk& wanted, db::ImageTarget image, std::string policy);
// Of the disks' kinds, LUN 0's first: a link that installs has a disk there and a CD-ROM beside it.
Maybe<void> check_can_install(const std::vector<std::string>& kinds);

// Field "lun"; nullopt when it is absent.
Maybe<std::optional<std::int64_t>> lun_field(const json::object& body);
Maybe<db::LinkDisk> needed_disk(const db::Link& link, std::int64_t lun);
// The disk to save: the named one, or the only one that is no CD-ROM.
Maybe<db::LinkDisk> disk_to_save(const db::Link& link, std::optional<std::int64_t> lun);
// The disk whose edits a commit makes a version: the named one, or the only one of policy super.
Maybe<db::LinkDisk> disk_to_commit(const db::Link& link, std::optional<std::int64_t> lun);

}  // namespace goldlink::manager::api
