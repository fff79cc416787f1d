// Pins: which versions stay in locked memory, as the manager said last; kept in pins.json, so that
// a target that starts alone pins them again. Chunks that boots are known to read come in first.
// Threads: any. One thread here reads the chunks in, behind whoever asks.
#pragma once

#include <atomic>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/problems.hpp"
#include "target/control/background.hpp"
#include "target/control/boot_traces.hpp"
#include "target/control/state_file.hpp"
#include "target/store/image_store.hpp"

namespace boost::json {
class object;
}

namespace goldlink::control {

// {"versions": [digest, ...]}, each once.
Result<std::vector<std::string>> parse_pins(const boost::json::object& o);

class Pins {
  public:
    static constexpr std::size_t kMaxVersions = 1000;

    Pins(std::filesystem::path file, store::ImageStore& store, const BootTraces& traces);
    ~Pins();
    Pins(const Pins&) = delete;
    Pins& operator=(const Pins&) = delete;

    // A file that cannot be understood is set aside; without one there are no pins until the
    // manager says them anew.
    void load(Problems& problems);
    // These versions from now on, and no others; durable when it returns, in memory later. What is
    // not in the store (any more) is kept for when it is said again.
    Result<> set(std::vector<std::string> digests);
    // How far that is with a version; nothing for one that is not to be pinned.
    std::optional<store::PinnedVersion> info(const std::string& digest) const;

  private:
    void read_in();

    store::ImageStore& store_;
    const BootTraces& traces_;
    const std::filesystem::path path_;

    mutable std::mutex mutex_;  // guards what follows
    std::vector<std::string> wanted_;
    std::uint64_t revision_ = 0;
    bool stopping_ = false;
    std::uint64_t done_damage_ = 0;  // ImageStore::damage_revision when all was read in; 0: not yet

    StateFile file_;
    store::Progress progress_;  // of what is read in, to stop it
    Background background_;     // last: its work uses all of the above
};

}  // namespace goldlink::control
