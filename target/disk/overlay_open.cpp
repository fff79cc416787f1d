// How an overlay is made or found: its folders and files, and whether what lies there is this
// link's, of this version and policy, and the files it was written with.
#include <fmt/format.h>

#include <utility>

#include "common/check.hpp"
#include "common/log.hpp"
#include "target/disk/overlay.hpp"

namespace goldlink::disk {

Result<std::unique_ptr<Overlay>> Overlay::open(store::Storage& storage,
                                               const LinkDiskOptions& options,
                                               const OverlayTuning& tuning) {
    CHECK(options.version != nullptr, "an overlay without a version");
    if (blocks_of(options.version->size_bytes()) > 0xffffffffu)
        return failure(ErrorKind::invalid, "the disk is larger than an overlay can be");
    std::unique_ptr<Overlay> overlay(new Overlay(storage, options, tuning));
    const auto path = overlay->journal_folder() / "journal";
    if (!storage.exists(path)) {
        if (options.must_exist)
            return failure(
                ErrorKind::not_found,
                fmt::format("the overlay's journal {} is missing; mount its disk or restore its "
                            "files, or reset the link, which begins an empty disk",
                            path.string()));
        GOLDLINK_TRY(overlay->create());
        return overlay;
    }
    // Before the journal is read: who waits for a disk to be mounted asks often.
    if (!storage.exists(overlay->folder_ / "slots"))
        return Slots::missing(overlay->folder_ / "slots");
    GOLDLINK_TRY(overlay->open_folders(false));
    auto journal = Journal::open(storage, path);
    if (!journal && !overlay->durable_ && journal.error().kind == ErrorKind::corrupt &&
        !options.must_exist) {
        // Nothing of a discard overlay is ever synced: this is what a power loss left of it.
        log::info("{}: the discard overlay begins empty", journal.error().message);
        GOLDLINK_TRY(overlay->create());
        return overlay;
    }
    if (!journal) return Failure(std::move(journal).error());
    GOLDLINK_TRY(overlay->load(std::move(*journal)));
    return overlay;
}

Result<> Overlay::open_folders(bool make) {
    for (const auto* folder : {&folder_, &ram_folder_}) {
        if (folder->empty() || !make) continue;
        if (const int error = storage_.make_folder(*folder); error < 0)
            return system_failure(fmt::format("cannot create folder {}", folder->string()), -error);
    }
    if (folder_fd_ >= 0) return {};
    folder_fd_ = storage_.open_folder(journal_folder());
    if (folder_fd_ < 0)
        return system_failure(fmt::format("cannot open folder {}", journal_folder().string()),
                              -folder_fd_);
    return {};
}

Result<> Overlay::create() {
    GOLDLINK_TRY(open_folders(true));
    GOLDLINK_TRY_ASSIGN(slots_, Slots::open(storage_, slot_options(true)));
    GOLDLINK_TRY(compact());
    if (!durable_) return {};
    // The folder is new, and so may be the link's, which it is in.
    for (const auto& parent : {folder_.parent_path(), folder_.parent_path().parent_path()})
        GOLDLINK_TRY(store::sync_folder(storage_, parent));
    return {};
}

Result<> Overlay::load(std::unique_ptr<Journal> journal) {
    const JournalHeader& header = journal->header();
    const auto name = journal_folder().string();
    if (header.version_digest != version_->digest() || header.size_bytes != version_->size_bytes())
        return failure(
            ErrorKind::conflict,
            fmt::format("the overlay in {} was made over version {}, not {}; reset the link to "
                        "drop it",
                        name, header.version_digest, version_->digest()));
    if (header.policy != static_cast<std::uint32_t>(policy_))
        return failure(
            ErrorKind::conflict,
            fmt::format("the overlay in {} was made with another policy; reset the link to drop it",
                        name));
    if (!owner_.empty() && !header.owner.empty() && header.owner != owner_)
        return failure(
            ErrorKind::conflict,
            fmt::format("the overlay in {} is another link's ({}), not one of {}; put the right "
                        "files back, or reset the link, which begins an empty disk",
                        name, header.owner, owner_));
    bool same_boot = !header.boot_id.empty() && header.boot_id == storage_.boot_id();
    if (same_boot && !has_own_files(*journal)) {
        if (!durable_)
            return failure(
                ErrorKind::conflict,
                fmt::format("the files of the overlay in {} are copies, or restored ones, and a "
                            "disk of policy discard has nothing to tell whether they fit each "
                            "other; boot the client anew, or reset the link",
                            name));
        log::info("the files of the overlay in {} are copies: it is read as after a power loss",
                  name);
        same_boot = false;
    }
    if (!durable_ && !same_boot) {
        log::info("the machine was started anew: the discard overlay in {} begins empty", name);
        journal.reset();
        return create();
    }
    ram_slots_ = header.ram_slots;
    journal_ = std::move(journal);
    GOLDLINK_TRY(check_end(same_boot));
    GOLDLINK_TRY_ASSIGN(slots_, Slots::open(storage_, slot_options(false)));
    storage_.remove(journal_folder() / "journal.new");  // a checkpoint that did not end
    return replay(same_boot);
}

// What a killed process left in the page cache is whole; a copy may have one file as it was before
// the other was.
bool Overlay::has_own_files(const Journal& journal) const {
    const auto fits = [this](const std::string& known, int fd) {
        const std::string id = storage_.file_id(fd);
        return known.empty() || id.empty() || id == known;
    };
    const int slots = storage_.open_read_only(folder_ / "slots");
    const bool own = fits(journal.header().journal_file, journal.fd()) &&
                     (slots < 0 || fits(journal.header().slots_file, slots));
    if (slots >= 0) storage_.close(slots);
    return own;
}

Slots::Options Overlay::slot_options(bool empty) const {
    return {folder_, ram_folder_, ram_slots_, reserve_bytes_, empty, map_.block_count()};
}

}  // namespace goldlink::disk
