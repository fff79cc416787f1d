#include "target/scsi/third_party_copy.hpp"

#include <algorithm>
#include <array>

#include "target/scsi/sense.hpp"

namespace goldlink::scsi {

DeviceState::DeviceState() = default;
DeviceState::~DeviceState() = default;

void revoke_tokens(LogicalUnit& unit, const disk::Request& request) noexcept {
    if (request.operation == disk::Operation::read || request.operation == disk::Operation::flush)
        return;
    unit.device->third_party->tokens.source_changes(unit,
                                                    {request.offset_bytes, request.length_bytes});
}

CopyOperation* ThirdPartyCopy::find(const Nexus& nexus, std::uint32_t list_identifier) {
    const auto it = std::ranges::find_if(operations_, [&](const CopyOperation& each) {
        return each.nexus == &nexus && each.list_identifier == list_identifier;
    });
    return it == operations_.end() ? nullptr : &*it;
}

CopyOperation* ThirdPartyCopy::open(Task& task, std::optional<std::uint32_t> list_identifier,
                                    CopyOut action) {
    forget_results_of_nobody();
    if (list_identifier) {
        const CopyOperation* known = find(*task.nexus, *list_identifier);
        if (known != nullptr && known->running()) {
            fail(task, sense::kOperationInProgress);
            return nullptr;
        }
        operations_.remove_if([&](const CopyOperation& each) { return &each == known; });
    }
    const auto running = std::ranges::count_if(
        operations_, [](const CopyOperation& each) { return each.running(); });
    if (action != CopyOut::populate_token && static_cast<std::size_t>(running) >= kMaxRunning) {
        fail_status(task, Status::busy);
        return nullptr;
    }
    if (operations_.size() - static_cast<std::size_t>(running) >= kMaxResults)
        operations_.erase(std::ranges::find_if(
            operations_, [](const CopyOperation& each) { return !each.running(); }));
    CopyOperation& operation = operations_.emplace_back();
    operation.device = task.nexus->device;
    operation.nexus = task.nexus;
    operation.list_identifier = list_identifier;
    operation.action = action;
    operation.block_shift = unit_of(task).block_shift;
    return &operation;
}

// An operation stays in its place while it runs, whatever the others' ends bring about.
void ThirdPartyCopy::next_turn() noexcept {
    std::array<CopyOperation*, kMaxRunning> waiting{};
    std::size_t count = 0;
    for (CopyOperation& each : operations_)
        if (each.waits_a_turn()) waiting[count++] = &each;
    for (std::size_t i = 0; i < count; ++i) waiting[i]->next_turn();
}

void ThirdPartyCopy::nexus_lost(const Nexus& nexus) {
    for (CopyOperation& each : operations_)
        if (each.nexus == &nexus && each.running()) each.cancel();
}

void ThirdPartyCopy::nexus_closes(const Nexus& nexus) {
    for (CopyOperation& each : operations_)
        if (each.nexus == &nexus) each.nexus = nullptr;
    forget_results_of_nobody();
}

void ThirdPartyCopy::unit_resets(const LogicalUnit& unit) {
    for (CopyOperation& each : operations_)
        if (each.running() && each.touches(unit)) each.cancel();
}

bool ThirdPartyCopy::is_writing(const LogicalUnit& unit, const ByteRange& range) const {
    return std::ranges::any_of(
        operations_, [&](const CopyOperation& each) { return each.is_writing(unit, range); });
}

void ThirdPartyCopy::forget_results_of_nobody() {
    operations_.remove_if([](const CopyOperation& each) {
        return !each.running() && (each.nexus == nullptr || !each.list_identifier);
    });
}

}  // namespace goldlink::scsi
