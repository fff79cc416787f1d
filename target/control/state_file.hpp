// StateFile: one file that holds the latest state, replaced whole and durably. Callers that save at
// the same time share one write: a room that boots costs a few writes, not one a machine.
// Threads: any that may block on the disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <string>

#include "common/result.hpp"

namespace goldlink::control {

class StateFile {
  public:
    // `snapshot` gives the content; called from the saving thread, with no lock of ours but its
    // own.
    StateFile(std::filesystem::path path, std::function<std::string()> snapshot)
        : path_(std::move(path)), snapshot_(std::move(snapshot)) {}

    // Returns once a snapshot taken after this call began is durable.
    Result<> save();

  private:
    std::filesystem::path path_;
    std::function<std::string()> snapshot_;
    std::mutex tickets_;  // guards requested_
    std::uint64_t requested_ = 0;
    std::mutex writing_;  // guards saved_; held over the write
    std::uint64_t saved_ = 0;
};

}  // namespace goldlink::control
