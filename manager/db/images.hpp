// Queries on images, versions and channels. One function a query; run them on a lent connection,
// in a transaction where several belong together.
#pragma once

#include "manager/db/connection.hpp"
#include "manager/db/rows.hpp"

namespace goldlink::manager::db {

Result<std::vector<Image>> list_images(Connection& c, const std::string& after_name, int limit);
Result<std::optional<Image>> find_image(Connection& c, const std::string& name);
Result<std::int64_t> count_images(Connection& c);
// nullopt when the name is taken.
Result<std::optional<Image>> insert_image(Connection& c, const std::string& name,
                                          const std::string& note);
// Makes the image one of this kind unless it has versions of the other; false: it has.
Result<bool> take_kind(Connection& c, std::int64_t image_id, const std::string& kind);
// Until the transaction ends nobody else adds a version to it.
Result<> lock_image(Connection& c, std::int64_t image_id);
Result<> delete_image(Connection& c, std::int64_t image_id);

// Newest first, of all the images named.
Result<std::vector<Version>> versions_of(Connection& c, const std::vector<std::int64_t>& image_ids);
Result<std::vector<Channel>> channels_of(Connection& c, const std::vector<std::int64_t>& image_ids);
Result<std::optional<Version>> find_version(Connection& c, std::int64_t image_id,
                                            std::int64_t number);
Result<std::optional<Version>> find_version_by_id(Connection& c, std::int64_t version_id);
// Ready ones of any image; the links that run on one, as people name them, at most 100.
Result<std::vector<Version>> versions_of_digest(Connection& c, const std::string& digest);
Result<std::vector<std::string>> links_of_digest(Connection& c, const std::string& digest);
// Takes the image's next number, state `importing`.
Result<Version> insert_version(Connection& c, std::int64_t image_id, const std::string& note);
// What a version that a link's disk becomes is made of: the version the disk is on in the registry,
// until the target has said what it ran on.
Result<> set_origin(Connection& c, std::int64_t version_id, const std::string& link_id,
                    std::int64_t lun, const std::string& made_by, bool saved);
Result<> set_parent(Connection& c, std::int64_t version_id, std::int64_t parent_version_id);
// The version with that digest, of the same image or the parent's where several have it.
Result<> set_parent_digest(Connection& c, std::int64_t version_id, const std::string& digest);
// Versions of the same image that were made from this one meanwhile, from these too, newest first;
// not those the link itself was saved as. At most 20.
Result<std::vector<Version>> descendants_of(Connection& c, std::int64_t version_id,
                                            const std::string& link_id);
// The link gives up what it was saved with.
Result<> forget_saved_from(Connection& c, const std::string& link_id);
Result<> set_version_ready(Connection& c, std::int64_t version_id, const std::string& digest,
                           std::int64_t size_bytes, std::int64_t stored_bytes);
// Of one that was to come; what is ready stays so.
Result<> set_version_failed(Connection& c, std::int64_t version_id, const std::string& error);
Result<> delete_version(Connection& c, std::int64_t version_id);

// Points the channel at the version and takes along the links that follow it (discard ones; a kept
// overlay belongs to the version it was made on).
Result<> set_channel(Connection& c, std::int64_t image_id, const std::string& channel,
                     std::int64_t version_id);
// False when there is no such channel.
Result<bool> set_pinned(Connection& c, std::int64_t image_id, const std::string& channel,
                        bool pinned);
// Of the versions that pinned channels point at, in a fixed order.
Result<std::vector<std::string>> pinned_digests(Connection& c);
Result<bool> delete_channel(Connection& c, std::int64_t image_id, const std::string& channel);

// Resolves a parsed reference; nullopt when there is no such image, channel or ready version.
Result<std::optional<ImageTarget>> resolve_channel(Connection& c, const std::string& image,
                                                   const std::string& channel);
Result<std::optional<ImageTarget>> resolve_version(Connection& c, const std::string& image,
                                                   std::int64_t number);

// What stands in the way of a deletion, as people name it: "link of PC-001", "channel production",
// "group room-a"; at most 20.
Result<std::vector<std::string>> users_of_image(Connection& c, std::int64_t image_id);
Result<std::vector<std::string>> users_of_version(Connection& c, std::int64_t version_id);
Result<std::vector<std::string>> followers_of_channel(Connection& c, std::int64_t image_id,
                                                      const std::string& channel);

// Digests that no version has any more and whose data the target has still to drop.
Result<> queue_version_deletion(Connection& c, const std::string& digest);
Result<std::vector<std::string>> version_deletions(Connection& c);
Result<> forget_version_deletion(Connection& c, const std::string& digest);

// The newest ready version with this content, as a link's disk names it; nullopt when no image has
// it.
Result<std::optional<ImageTarget>> find_target_by_digest(Connection& c, const std::string& digest);

}  // namespace goldlink::manager::db
