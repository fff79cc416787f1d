// The registry's records as the queries return them. Times are RFC 3339 text in UTC, JSON columns
// are JSON text. Values only; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace goldlink::manager::db {

struct Token {
    std::string id, name, role, created_at;
    std::optional<std::string> expires_at, last_used_at;
};

struct Image {
    std::int64_t id = 0;
    std::string name, note, created_at;
    std::string kind;  // disk or iso
};

struct Version {
    std::int64_t id = 0, image_id = 0, number = 0;
    std::string image, state, note, created_at;
    std::optional<std::string> digest, error;
    std::int64_t size_bytes = 0, stored_bytes = 0;
    std::optional<std::string> parent;  // "win11@7": what it was made of
    std::string made_by;                // whose disk it was; "" when no link made it
};

struct Channel {
    std::int64_t image_id = 0;
    std::string name;
    std::int64_t version = 0;
    bool pinned = false;
};

// An image reference resolved: `win11:production` has the channel, `win11@7` none.
struct ImageTarget {
    std::int64_t image_id = 0;
    std::string image;
    std::optional<std::string> channel;
    std::int64_t version_id = 0, version = 0, size_bytes = 0;
    std::string kind;  // the image's
};

struct Group {
    std::int64_t id = 0;
    std::string name;
    std::optional<std::string> image;  // as written: NAME:channel or NAME@version
    std::string policy, naming_pattern;
    std::int64_t client_count = 0, revision = 0;
};

struct Client {
    std::string id, name, state, note, created_at;
    std::vector<std::string> macs;
    std::optional<std::string> group, link_id, image, policy;
    std::int64_t revision = 0;
};

struct BootStage {
    std::string stage, at;
    std::int64_t after_ms = 0;
    std::string detail;
};

struct Boot {
    std::string id, client, started_at, state;
    std::optional<std::string> ended_at, firmware, address, problem;
    std::vector<BootStage> stages;
};

struct LinkDisk {
    std::int64_t lun = 0;
    std::string image;
    std::int64_t version = 0;
    std::optional<std::string> channel;
    std::string policy;
    std::optional<std::int64_t> quota_bytes;
    std::string kind;  // the image's
    std::int64_t logical_block_bytes = 512;
    std::optional<std::int64_t> channel_version;  // what the channel points at now
};

struct Link {
    std::string id;
    std::optional<std::string> client, lease_expires_at;
    std::string image;
    std::int64_t version = 0;
    std::optional<std::string> channel;
    std::string policy, iqn, username, secret, state;
    std::optional<std::string> problem, created_by;
    std::int64_t lun = 0, revision = 0, applied_revision = 0;
    std::string created_at;
    bool install = false;
    std::vector<LinkDisk> disks;  // all, by LUN; image to policy above are LUN 0's
};

// What the target has to serve: one row a disk, links without gaps in order of id.
struct DesiredDisk {
    std::string link_id, iqn, alias, username, secret;
    std::int64_t revision = 0, applied_revision = 0, lun = 0;
    std::string digest, policy;
    std::optional<std::int64_t> quota_bytes;
    std::string kind;  // the image's
    std::int64_t logical_block_bytes = 512;
    std::optional<std::int64_t> channel_version;  // what the channel points at now
};

struct Settings {
    std::string unknown_policy, naming_pattern;
    std::int64_t menu_timeout_seconds = 0;
    std::optional<std::string> http_base;
};

// One line of pxe's boot table.
struct BootEntry {
    std::string client_id, name;
    std::vector<std::string> macs;
    std::optional<std::string> link_id;
    std::optional<std::int64_t> install_lun;  // of a link that installs: its first CD-ROM
};

struct Task {
    std::string id, kind, subject, state, phase;
    std::int64_t done_bytes = 0, total_bytes = 0;
    std::string message;
    std::optional<std::string> error, result;
    std::string created_at;
    std::optional<std::string> finished_at;
    // Not shown: how it is carried out.
    std::optional<std::int64_t> version_id;
    std::optional<std::string> link_id, channel, upload, digest;
    std::optional<std::int64_t> lun;          // of a commit
    std::optional<std::int64_t> blank_bytes;  // of an import of no file, or a grow: the disk's size
    std::optional<std::string> source;        // of an import: where its files are (JSON)
    std::string format;
    bool cancel_requested = false;
};

struct Event {
    std::int64_t id = 0;
    std::string time, kind;
    std::optional<std::string> client, link_id, boot_id;
    std::string data;
};

}  // namespace goldlink::manager::db
