#include "target/iscsi/command.hpp"

#include "common/check.hpp"

namespace goldlink::iscsi {

// Index 1023 with all other bits set would be the reserved tag.
static_assert(CommandTable::kMaxCommands <= 1023);

Command* CommandTable::allocate(std::uint32_t itt) {
    if (free_ == nullptr) {
        const std::size_t first = chunks_.size() * kChunk;
        if (first >= kMaxCommands) return nullptr;
        chunks_.push_back(std::make_unique<Command[]>(kChunk));
        for (std::size_t i = kChunk; i-- > 0;) {
            Command& command = chunks_.back()[i];
            command.index = static_cast<std::uint16_t>(first + i);
            command.next = free_;
            free_ = &command;
        }
    }
    Command* command = free_;
    free_ = command->next;
    command->itt = itt;
    Command*& chain = chains_[chain_of(itt)];
    command->next = chain;
    chain = command;
    ++size_;
    return command;
}

void CommandTable::release(Command& command) {
    CHECK(command.state != Command::State::free, "a command is released twice");
    Command** link = &chains_[chain_of(command.itt)];
    while (*link != &command) link = &(*link)->next;
    *link = command.next;
    command.state = Command::State::free;
    ++command.generation;
    command.next = free_;
    free_ = &command;
    --size_;
}

}  // namespace goldlink::iscsi
