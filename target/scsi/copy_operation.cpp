#include "target/scsi/copy_operation.hpp"

#include <algorithm>
#include <utility>

#include "target/scsi/sense.hpp"
#include "target/scsi/task_set.hpp"
#include "target/scsi/third_party_copy.hpp"

namespace goldlink::scsi {

Step CopyOperation::start(Task* task) {
    task_ = task;
    if (task_ == nullptr) ++device->tasks_in_flight;  // the device does not end under it
    if (advance() == Step::pending) return Step::pending;
    if (task_ == nullptr) --device->tasks_in_flight;
    task_ = nullptr;
    return Step::finished;
}

void CopyOperation::end(State state, const Sense& sense) {
    state_ = state;
    sense_ = sense;
    if (state != State::done && action == CopyOut::extended_copy_lid1)
        sense_.key = sense::kCopyAborted.key;  // the cause stays (SPC-4 5.17.7.4)
    buffer_.reset();
    extents = {};
    if (delete_token) device->third_party->tokens.remove(token_id);
    if (task_ != nullptr && state != State::done) fail(*task_, sense_);
}

bool CopyOperation::touches(const LogicalUnit& unit) const {
    return std::ranges::any_of(extents, [&](const CopyExtent& each) {
        return each.source == &unit || each.destination == &unit;
    });
}

bool CopyOperation::is_writing(const LogicalUnit& unit, const ByteRange& range) const {
    return running() && phase_ == Phase::writing && extents[extent_].destination == &unit &&
           range.overlaps({request_.offset_bytes, request_.length_bytes});
}

// The request in flight has ended well, or there is none.
Step CopyOperation::advance() {
    for (;;) {
        if (!may_go_on()) return Step::finished;
        const CopyExtent* extent = extent_ < extents.size() ? &extents[extent_] : nullptr;
        bool submitted = false;
        switch (phase_) {
            case Phase::choose:
                if (turn_bytes_ >= kTurnBytes) {
                    wait_a_turn();
                    return Step::pending;
                }
                if (choose_piece() == Step::finished) return Step::finished;
                continue;
            case Phase::reading:
                submitted = submit(*extent->source, disk::Operation::read,
                                   extent->source_bytes + piece_at_);
                phase_ = Phase::to_be_written;
                break;
            case Phase::to_be_written: {
                LogicalUnit& unit = *extent->destination;
                const std::uint64_t at = extent->destination_bytes + piece_at_;
                if (exclusive_task_touches(unit, {at, piece_bytes_})) {
                    wait_a_turn();
                    return Step::pending;
                }
                const bool zeroes = request_.data == nullptr;
                phase_ = Phase::writing;
                submitted = submit(
                    unit, zeroes ? disk::Operation::write_zeroes : disk::Operation::write, at);
                break;
            }
            case Phase::writing:
                extent_done_ += piece_bytes_;
                copied_bytes_ += piece_bytes_;
                ++pieces_;
                turn_bytes_ += std::min<std::uint64_t>(piece_bytes_, kWorkBytes);
                phase_ = Phase::choose;
                if (extent->destination->waiting != 0) release_waiting(*extent->destination);
                continue;
        }
        if (submitted) return Step::pending;
    }
}

// The next piece of the extents: its place, length, and whether it must be read.
Step CopyOperation::choose_piece() {
    while (extent_ < extents.size() && extent_done_ == extents[extent_].length_bytes) {
        const std::uint16_t segment = extents[extent_].segment;
        ++extent_;
        extent_done_ = 0;
        if (extent_ == extents.size() || extents[extent_].segment != segment)
            segments_done_ = static_cast<std::uint16_t>(segment + 1);
    }
    if (extent_ == extents.size()) {
        end(State::done, sense::kNoSense);
        return Step::finished;
    }
    const CopyExtent& extent = extents[extent_];
    const std::uint64_t left = extent.length_bytes - extent_done_;
    piece_bytes_ = std::min<std::uint64_t>(left, kWorkBytes);
    piece_at_ = extent.backwards() ? left - piece_bytes_ : extent_done_;
    request_.data = nullptr;
    phase_ = Phase::to_be_written;
    if (extent.source == nullptr) {
        piece_bytes_ = std::min(left, kMaxWriteSameBytes);
        return Step::pending;
    }
    // What has no blocks needs no reading, and is one request whatever its length.
    if (extent.source->thin && !extent.backwards()) {
        const disk::Extent run = extent.source->disk->extent_at(extent.source_bytes + piece_at_,
                                                                std::min(left, kMaxWriteSameBytes));
        if (!run.mapped && run.length_bytes > 0) {
            piece_bytes_ = std::min(left, run.length_bytes);
            return Step::pending;
        }
    }
    if (!buffer_) buffer_ = std::make_unique<WorkBuffer>();
    request_.data = buffer_->data();
    phase_ = Phase::reading;
    return Step::pending;
}

// False: it ended well, at once. True: the disk answers later.
bool CopyOperation::submit(LogicalUnit& unit, disk::Operation operation,
                           std::uint64_t offset_bytes) {
    request_.operation = operation;
    request_.offset_bytes = offset_bytes;
    request_.length_bytes = piece_bytes_;
    request_.fua = operation != disk::Operation::read && !unit.mode.write_cache_enabled();
    request_.outcome = disk::Outcome::ok;
    request_.complete = &on_request_complete;
    request_.owner = this;
    return submit_to_disk(unit, request_) == disk::Submit::pending;
}

bool CopyOperation::reserved_by_another(LogicalUnit& unit, Under under) const {
    if (!unit.reservations.held()) return false;
    const auto index = static_cast<std::size_t>(&unit - device->units.data());
    return unit.reservations.conflicts(*nexus, nexus->units[index].registration, under);
}

// Ends the operation and says no if it must not go on.
bool CopyOperation::may_go_on() {
    const bool aborted = task_ != nullptr && task_->aborted;
    if (aborted || cancelled_ || nexus == nullptr) {
        end(State::terminated, sense::kCopyAborted);
        return false;
    }
    if (request_.outcome != disk::Outcome::ok) {
        end(State::failed, sense_of(request_.outcome));
        return false;
    }
    if (extent_ == extents.size()) return true;
    const CopyExtent& extent = extents[extent_];
    if (phase_ != Phase::writing && extent.source != nullptr && token_id != 0) {
        Sense why;
        if (!device->third_party->tokens.still_valid(token_id, why)) {
            end(State::failed, why);
            return false;
        }
    }
    LogicalUnit& destination = *extent.destination;
    if (destination.restricted || (extent.source != nullptr && extent.source->restricted)) {
        end(State::failed,
            restriction_of(extent.source != nullptr && extent.source->restricted ? *extent.source
                                                                                 : destination));
        return false;
    }
    if (destination.read_only || destination.mode.software_write_protect()) {
        end(State::failed, sense::kWriteProtected);
        return false;
    }
    if (reserved_by_another(destination, Under::write) ||
        (extent.source != nullptr && reserved_by_another(*extent.source, Under::read))) {
        end(State::terminated, sense::kCopyAborted);
        return false;
    }
    return true;
}

void CopyOperation::wait_a_turn() {
    turn_bytes_ = 0;
    waits_a_turn_ = true;
    device->wake();
}

void CopyOperation::next_turn() {
    waits_a_turn_ = false;
    resume();
}

void CopyOperation::on_request_complete(disk::Request& request) noexcept {
    static_cast<CopyOperation*>(request.owner)->resume();
}

void CopyOperation::resume() {
    LogicalUnit* const written = phase_ == Phase::writing ? extents[extent_].destination : nullptr;
    DeviceState& its_device = *device;
    if (advance() == Step::pending) return;
    Task* task = std::exchange(task_, nullptr);
    // What waited for a last piece that failed starts now, and may make the list of operations drop
    // this one.
    if (written != nullptr) release_waiting(*written);
    if (task == nullptr) {
        --its_device.tasks_in_flight;
        its_device.third_party->background_ended();
        return;
    }
    leave_task_set(unit_of(*task), *task);
    task->complete(*task);
}

}  // namespace goldlink::scsi
