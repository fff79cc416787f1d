#include "manager/api/link_disks.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace goldlink::manager::api {
namespace {

constexpr std::string_view kField = "disks";
constexpr std::int64_t kMaxQuotaBytes = std::int64_t{1} << 50;

// The refusal of one item of the list, which says where in it.
Refused refuse_item(std::size_t index, std::string_view why) {
    return refuse_field(std::string(kField), fmt::format("disks[{}]: {}", index, why));
}

Maybe<WantedDisk> parse_disk(const json::value& item, std::size_t index) {
    if (!item.is_object())
        return refuse_item(index, "a disk is an object like {\"lun\": 1, \"image\": \"games\"}");
    const json::object& o = item.as_object();
    if (const auto known =
            json::only_fields(o, {"lun", "image", "policy", "quota_bytes", "logical_block_bytes"});
        !known)
        return refuse_item(index, known.error().message);
    WantedDisk disk;
    const auto lun = json::int_field(o, "lun", 0, kMaxLun);
    if (!lun) return refuse_item(index, lun.error().message);
    if (*lun == 0)
        return refuse_item(index,
                           "lun 0 is the disk that field 'image' names; data disks begin at 1");
    disk.lun = *lun;
    const auto image = json::string_field(o, "image", 1, 140);
    if (!image) return refuse_item(index, image.error().message);
    auto reference = parse_image_reference(*image);
    if (!reference) return refuse_item(index, reference.error().detail);
    disk.image = std::move(*reference);
    if (o.contains("policy")) {
        auto policy = policy_field(o, "discard");
        if (!policy) return refuse_item(index, policy.error().detail);
        disk.policy = std::move(*policy);
    }
    const auto quota = quota_field(o);
    if (!quota) return refuse_item(index, quota.error().detail);
    disk.quota_bytes = *quota;
    auto block_bytes = block_bytes_field(o);
    if (!block_bytes) return refuse_item(index, block_bytes.error().detail);
    disk.logical_block_bytes = *block_bytes;
    return disk;
}

}  // namespace

Maybe<std::optional<std::int64_t>> block_bytes_field(const json::object& body) {
    const auto bytes = json::optional_int(body, "logical_block_bytes", 512, 4096);
    if (!bytes) return refuse_field("logical_block_bytes", bytes.error().message);
    if (*bytes && **bytes != 512 && **bytes != 4096)
        return refuse_field("logical_block_bytes", "logical_block_bytes is 512 or 4096");
    return *bytes;
}

Maybe<std::optional<std::int64_t>> quota_field(const json::object& body) {
    const auto quota = json::optional_int(body, "quota_bytes", 1, kMaxQuotaBytes);
    if (!quota) return refuse_field("quota_bytes", quota.error().message);
    return *quota;
}

Maybe<db::NewDisk> make_disk(const WantedDisk& wanted, db::ImageTarget image, std::string policy) {
    db::NewDisk disk;
    disk.lun = wanted.lun;
    disk.policy = wanted.policy.value_or(std::move(policy));
    disk.quota_bytes = wanted.quota_bytes;
    disk.logical_block_bytes = wanted.logical_block_bytes.value_or(512);
    if (image.kind == "iso") {
        if ((wanted.policy && *wanted.policy != "discard") || wanted.quota_bytes ||
            wanted.logical_block_bytes)
            return refuse_field(
                "image", fmt::format("lun {}: image {} is a disc: nothing is written to it, so it "
                                     "has no policy but discard, no quota, and its own blocks",
                                     wanted.lun, image.image));
        disk.policy = "discard";
    }
    if (image.size_bytes % disk.logical_block_bytes != 0)
        return refuse_field("logical_block_bytes",
                            fmt::format("lun {}: image {}@{} has {} bytes, which are no whole "
                                        "blocks of {}; leave logical_block_bytes out",
                                        wanted.lun, image.image, image.version, image.size_bytes,
                                        disk.logical_block_bytes));
    disk.image = std::move(image);
    return disk;
}

Maybe<void> check_can_install(const std::vector<std::string>& kinds) {
    if (kinds.front() == "disk" && std::find(kinds.begin(), kinds.end(), "iso") != kinds.end())
        return {};
    return refuse_field("install",
                        "a link that installs has a disk as LUN 0 and a disc beside it: give it an "
                        "image that was imported with format iso");
}

Maybe<std::vector<WantedDisk>> disks_field(const json::object& body) {
    std::vector<WantedDisk> disks;
    if (!body.contains(kField)) return disks;
    const auto items = json::array_field(body, kField, kMaxDisksPerLink - 1);
    if (!items)
        return refuse_field(std::string(kField),
                            fmt::format("{}; a link has at most {} disks, lun 0 included",
                                        items.error().message, kMaxDisksPerLink));
    for (std::size_t i = 0; i < items->size(); ++i) {
        GOLDLINK_TRY_CALL(WantedDisk disk, parse_disk((*items)[i], i));
        if (std::any_of(disks.begin(), disks.end(),
                        [&](const WantedDisk& other) { return other.lun == disk.lun; }))
            return refuse_item(i, fmt::format("lun {} is given twice", disk.lun));
        disks.push_back(std::move(disk));
    }
    return disks;
}

Maybe<std::vector<db::NewDisk>> resolve_disks(db::Connection& c,
                                              const std::vector<WantedDisk>& disks) {
    std::vector<db::NewDisk> resolved;
    for (const WantedDisk& disk : disks) {
        auto image = resolve(c, disk.image);
        if (!image) {
            Refusal refusal = std::move(image).error();
            refusal.field = kField;
            refusal.detail = fmt::format("lun {}: {}", disk.lun, refusal.detail);
            return Refused(std::move(refusal));
        }
        auto made = make_disk(disk, std::move(*image), "discard");
        if (!made) {
            Refusal refusal = std::move(made).error();
            refusal.field = kField;
            return Refused(std::move(refusal));
        }
        resolved.push_back(std::move(*made));
    }
    return resolved;
}

Maybe<std::optional<std::int64_t>> lun_field(const json::object& body) {
    const auto lun = json::optional_int(body, "lun", 0, kMaxLun);
    if (!lun) return refuse_field("lun", lun.error().message);
    return *lun;
}

Maybe<db::LinkDisk> needed_disk(const db::Link& link, std::int64_t lun) {
    for (const db::LinkDisk& disk : link.disks)
        if (disk.lun == lun) return disk;
    Refusal refusal(404, "no-such-lun", "The link has no such disk",
                    fmt::format("link {} has no disk with lun {}", link.id, lun));
    refusal.field = "lun";
    return Refused(std::move(refusal));
}

Maybe<db::LinkDisk> disk_to_save(const db::Link& link, std::optional<std::int64_t> lun) {
    std::vector<db::LinkDisk> candidates;
    if (lun) {
        GOLDLINK_TRY_CALL(candidates.emplace_back(), needed_disk(link, *lun));
    } else {
        candidates = link.disks;
    }
    std::erase_if(candidates, [](const db::LinkDisk& disk) { return disk.kind == "iso"; });
    if (candidates.empty())
        return refuse(409, "nothing-to-save", "A CD-ROM cannot be saved",
                      "nobody writes to a CD-ROM: it is its image's version already");
    if (candidates.size() == 1) return candidates.front();
    std::vector<std::string> names;
    for (const db::LinkDisk& disk : candidates)
        names.push_back(fmt::format("lun {} {}", disk.lun, disk.image));
    return refuse(409, "several-disks", "The link has several disks",
                  fmt::format("say by lun which one to save: {}", fmt::join(names, ", ")));
}

Maybe<db::LinkDisk> disk_to_commit(const db::Link& link, std::optional<std::int64_t> lun) {
    std::vector<db::LinkDisk> candidates;
    std::vector<std::string> policies;
    if (lun) {
        GOLDLINK_TRY_CALL(candidates.emplace_back(), needed_disk(link, *lun));
    } else {
        candidates = link.disks;
    }
    for (const db::LinkDisk& disk : candidates)
        policies.push_back(fmt::format("lun {} {}", disk.lun, disk.policy));
    std::erase_if(candidates, [](const db::LinkDisk& disk) { return disk.policy != "super"; });
    if (candidates.empty())
        return refuse(409, "not-super", "No disk of the link is a super disk",
                      fmt::format("the policy is: {}; only the edits of a super disk become the "
                                  "next version. Make a link with policy super, boot it, change "
                                  "it, then commit",
                                  fmt::join(policies, ", ")));
    if (candidates.size() > 1)
        return refuse(409, "several-super-disks", "The link has several super disks",
                      fmt::format("say by lun which one to commit: {}", fmt::join(policies, ", ")));
    return candidates.front();
}

}  // namespace goldlink::manager::api
