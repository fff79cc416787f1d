// OverlayDisk: SYNCHRONIZE CACHE and FUA of durable overlays. One flush runs at a time; requests
// that come while it runs share the one after it. Order: slots, mark, journal, and with a finished
// checkpoint the new journal, its name, the folder.
#include <utility>

#include "common/check.hpp"
#include "common/log.hpp"
#include "target/disk/overlay_disk_pending.hpp"

namespace goldlink::disk {

OverlayDisk::~OverlayDisk() {
    CHECK(active_.empty() && waiting_head_ == nullptr, "a disk is destroyed under its requests");
    if (!flushing_) return;
    CHECK(flush_running_ == nullptr && flush_queued_ == nullptr,
          "a disk is destroyed under its requests");
    sync_->disk = nullptr;
    sync_->orphan = std::move(overlay_);
    (void)sync_.release();  // ends itself
}

void OverlayDisk::close() {
    CHECK(active_.empty() && waiting_head_ == nullptr && flush_running_ == nullptr &&
              flush_queued_ == nullptr,
          "a disk is closed under its requests");
    CHECK(!overlay_->is_holding() && !snapshot_wanted_, "a disk is closed under its snapshot");
    closed_ = true;
}

Submit OverlayDisk::start_flush(Request& request) noexcept {
    request.outcome = Outcome::ok;
    if (!overlay_->durable()) return Submit::done;
    if (overlay_->sync_failed()) {
        request.outcome = Outcome::write_failed;
        return Submit::done;
    }
    if (!flushing_ && !overlay_->has_unflushed()) return Submit::done;
    request.next = flush_queued_;
    flush_queued_ = &request;
    run_flush();
    return Submit::pending;
}

void OverlayDisk::maybe_flush() noexcept {
    if (!flushing_ && overlay_->wants_flush()) run_flush();
}

void OverlayDisk::run_flush() noexcept {
    if (flushing_) return;
    flushing_ = true;
    flush_running_ = std::exchange(flush_queued_, nullptr);
    flush_ = overlay_->begin_flush();
    // Also with clean slots the answer comes from the ring: complete() is never called inline.
    sync(flush_.slots_dirty ? overlay_->slots_fd() : overlay_->journal_fd(),
         reactor::IoOperation::Kind::data_sync, &OverlayDisk::on_slots_synced);
}

void OverlayDisk::sync(int fd, reactor::IoOperation::Kind kind, AfterSync then) noexcept {
    if (!sync_) sync_ = std::make_unique<SyncOperation>();
    sync_->disk = this;
    sync_->then = then;
    sync_->operation = {};
    sync_->operation.kind = kind;
    sync_->operation.fd = fd;
    sync_->operation.owner = sync_.get();
    sync_->operation.complete = &SyncOperation::complete;
    ring_.submit(sync_->operation);
}

void OverlayDisk::on_slots_synced(bool ok) noexcept {
    if (!ok) return end_flush(Outcome::write_failed);
    if (const auto refusal = overlay_->mark(flush_); refusal != Overlay::Refusal::none)
        return end_flush(refusal == Overlay::Refusal::space ? Outcome::out_of_space
                                                            : Outcome::write_failed);
    sync(overlay_->journal_fd(), reactor::IoOperation::Kind::data_sync,
         &OverlayDisk::on_journal_synced);
}

void OverlayDisk::on_journal_synced(bool ok) noexcept {
    if (!ok) return end_flush(Outcome::write_failed);
    if (!flush_.with_checkpoint) return end_flush(Outcome::ok);
    sync(overlay_->next_journal_fd(), reactor::IoOperation::Kind::data_sync,
         &OverlayDisk::on_next_journal_synced);
}

void OverlayDisk::on_next_journal_synced(bool ok) noexcept {
    // Without the new journal the old one goes on: it has the mark.
    if (ok) {
        if (auto installed = overlay_->install_checkpoint(); installed)
            return sync(overlay_->folder_fd(), reactor::IoOperation::Kind::full_sync,
                        &OverlayDisk::on_folder_synced);
        else
            log::warn("{}", installed.error().message);
    }
    overlay_->drop_checkpoint();
    flush_.with_checkpoint = false;
    end_flush(Outcome::ok);
}

void OverlayDisk::on_folder_synced(bool ok) noexcept {
    end_flush(ok ? Outcome::ok : Outcome::write_failed);
}

void OverlayDisk::end_flush(Outcome outcome) noexcept {
    if (outcome == Outcome::out_of_space)
        overlay_->give_up_flush();
    else
        overlay_->end_flush(flush_, outcome == Outcome::ok);
    flushing_ = false;
    Request* finished = std::exchange(flush_running_, nullptr);
    for (Request* request = finished; request != nullptr; request = request->next)
        request->outcome = outcome;
    if (overlay_->sync_failed()) {
        if (on_storage_failed) on_storage_failed();
        while (flush_queued_ != nullptr) {
            Request& request = *std::exchange(flush_queued_, flush_queued_->next);
            request.outcome = Outcome::write_failed;
            request.next = finished;
            finished = &request;
        }
    } else if (flush_queued_ != nullptr) {
        run_flush();
    }
    complete_all(finished);  // may destroy this disk
}

}  // namespace goldlink::disk
