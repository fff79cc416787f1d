// BootTraces: what boots read first, recorded once for each version, and read ahead of the next
// boots ("prewarm"), so that a room that starts at once finds its image in the page cache.
//
// The first boot of a version is recorded for a while (disk::ReadTrace) and kept in a file
// traces/{version}. A version that takes another's place on a link begins with the trace of that
// one, and what differs is read in at once. At the start of the target the traces of all versions
// in use are read in.
// Threads: any; begin() and end() are for reactors and wait for nothing. One thread here writes
// files and reads ahead.
#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/problems.hpp"
#include "target/control/background.hpp"
#include "target/disk/read_trace.hpp"
#include "target/store/image_store.hpp"

namespace goldlink::control {

class BootTraces {
  public:
    // A boot that reads less has not come far: it is not kept.
    static constexpr std::size_t kMinChunks = 16;

    // `length`: how long a boot is recorded after its first login; 0: none is.
    BootTraces(std::filesystem::path folder, store::ImageStore& store, std::chrono::seconds length);
    ~BootTraces();
    BootTraces(const BootTraces&) = delete;
    BootTraces& operator=(const BootTraces&) = delete;

    // Reads the folder. A file that cannot be understood is set aside: the next boot makes it anew.
    void load(Problems& problems);

    std::chrono::seconds length() const { return length_; }
    // Where to record a boot of this version; null when that is known, or being recorded.
    std::shared_ptr<disk::ReadTrace> begin(const std::string& version, std::uint64_t size_bytes);
    void end(const std::string& version, std::shared_ptr<const disk::ReadTrace> trace);

    // `version` takes the place of `before` on a link.
    void follow(const std::string& version, const std::string& before);
    // Reads a version's trace in, behind whoever asks; nothing where there is none.
    void prewarm_behind(const std::string& version);
    // The same at once. not_found when there is no trace. Stops with `cancelled`, and, having read
    // as much as half of the memory that is free, early. Returns the bytes read.
    Result<std::uint64_t> prewarm(const std::string& version, store::Progress& progress);
    void forget(const std::string& version);

    struct Info {
        std::size_t chunks = 0;
        std::string recorded_at;   // RFC 3339
        bool inherited = false;    // of the version before; the next boot records this one's own
        std::string prewarmed_at;  // RFC 3339; "": not since the start
        std::uint64_t prewarmed_bytes = 0;
    };
    std::optional<Info> info(const std::string& version) const;
    // In the order in which they were first read; none for a version without a trace.
    std::vector<std::uint32_t> chunks(const std::string& version) const;

  private:
    struct Trace {
        std::shared_ptr<const std::vector<std::uint32_t>> chunks;
        Info info;
    };

    void keep(const std::string& version, Trace trace);
    static Result<Trace> parse(const std::string& text);
    Result<> write(const std::string& version, const Trace& trace) const;

    const std::filesystem::path folder_;
    store::ImageStore& store_;
    const std::chrono::seconds length_;

    mutable std::mutex mutex_;  // guards what follows
    std::map<std::string, Trace> traces_;
    std::map<std::string, bool> recording_;

    store::Progress stopping_;  // of what is read ahead
    Background background_;     // last: its work uses all of the above
};

}  // namespace goldlink::control
