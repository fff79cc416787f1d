// A child that reads image files we do not trust, in the sandbox: a program, or a function of ours
// that runs in the forked process. Watched for progress and cancel. Threads: any; run() blocks.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "common/child.hpp"
#include "target/store/image_store.hpp"
#include "target/store/sandbox.hpp"

namespace goldlink::store {

struct ConverterRun {
    std::vector<std::filesystem::path> readable;
    std::filesystem::path writable;
    SandboxLimits limits;
    std::vector<std::string> argv;  // argv[0] names the program in messages
    // When set, runs in place of the program, in the child, after the sandbox is entered; its
    // value is the exit code. Async-signal-safe: only system calls and memory made before.
    std::function<int()> work{};
    // Run in the child before the sandbox is entered (to put descriptors in place).
    std::function<void()> prepare{};
    // Called in the parent, on run()'s thread, while the child runs; an error ends it.
    std::function<Result<>()> attend{};
    std::uint64_t progress_bytes = 0;  // what 100 % adds to done_bytes
    std::string locale = "C";          // of messages, and of the names of files in an archive
};

struct ConverterEnd {
    ExitStatus status;
    std::string output;  // without progress lines; bounded
    // The part of the output that says why, in one line.
    std::string why(std::string_view program) const;
    bool disk_full() const { return output.find("No space left") != std::string::npos; }
};

// Lines such as "    (12.34/100%)" are progress. Errors: cancelled, attend's, cannot start.
Result<ConverterEnd> run_converter(const ConverterRun& what, Progress& progress);

SandboxLimits converter_limits(std::uint64_t disk_bytes);

}  // namespace goldlink::store
