// Sandbox: what confines a child that parses a file we do not trust. Made by the parent, entered by
// the child between fork and exec. A child in it
// - can write one file only, and read its inputs and the system's libraries (Landlock);
// - has no network, cannot trace, mount or load anything (seccomp), gains no privileges;
// - runs as nobody when we are root, keeping only the right to read its inputs;
// - is bounded in memory, CPU time and the size of what it writes.
// A kernel without Landlock loses that one layer; the others hold.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "common/file.hpp"
#include "common/result.hpp"

namespace goldlink::store {

struct SandboxLimits {
    std::uint64_t memory_bytes = 4ull << 30;  // address space
    std::uint64_t cpu_seconds = 600;
    std::uint64_t file_bytes = 0;   // the largest file it may write
    std::uint64_t open_files = 64;  // beside its inputs
};

class Sandbox {
  public:
    // `writable` may be empty. When we are root it is lent to nobody until this object goes.
    // `program`: what is to run when it is none of the system's; else empty.
    static Result<std::unique_ptr<Sandbox>> make(const std::vector<std::filesystem::path>& readable,
                                                 const std::filesystem::path& writable,
                                                 const SandboxLimits& limits,
                                                 const std::filesystem::path& program = {});
    ~Sandbox();

    // For ChildOptions::before_exec; async-signal-safe; this object must outlive the spawn.
    // Ends the child when a layer that must hold cannot be put up.
    std::function<void()> enter() const;

  private:
    Sandbox() = default;

    SandboxLimits limits_;
    FileDescriptor landlock_;  // the ruleset, or none
    FileDescriptor lent_;      // `writable`, to be taken back
};

}  // namespace goldlink::store
