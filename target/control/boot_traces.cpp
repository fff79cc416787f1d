#include "target/control/boot_traces.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <cstdlib>

#include "common/event_log.hpp"
#include "common/file.hpp"
#include "common/json.hpp"
#include "common/kept_file.hpp"
#include "common/log.hpp"

namespace goldlink::control {
namespace {

constexpr std::size_t kMaxFileBytes = 1 << 20;
constexpr std::uint64_t kReadBytes = 1 << 20;

// What the kernel could give without pushing others out.
std::uint64_t available_memory_bytes() {
    const auto text = read_file("/proc/meminfo", 65536);
    constexpr std::string_view kKey = "MemAvailable:";
    const std::size_t at = text ? text->find(kKey) : std::string::npos;
    if (at == std::string::npos) return 0;
    return std::strtoull(text->c_str() + at + kKey.size(), nullptr, 10) * 1024;
}

// The name of a trace's file is its version's digest; what else lies there is none of ours.
bool is_version(std::string_view name) {
    return name.size() == 64 &&
           name.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// Neighbours in a pack, to be read in one go.
struct Run {
    store::ChunkLocation first;
    std::uint64_t count;
};

std::vector<Run> runs_of(const store::Version& version, const std::vector<std::uint32_t>& chunks) {
    const std::uint64_t count =
        (version.size_bytes() + store::kChunkBytes - 1) / store::kChunkBytes;
    std::vector<store::ChunkLocation> locations;
    for (const std::uint32_t chunk : chunks) {
        const auto location = chunk < count ? version.location(chunk) : store::kZeroChunk;
        if (store::is_stored(location)) locations.push_back(location);
    }
    std::sort(locations.begin(), locations.end());
    locations.erase(std::unique(locations.begin(), locations.end()), locations.end());
    std::vector<Run> runs;
    for (const store::ChunkLocation location : locations) {
        const bool follows = !runs.empty() && runs.back().first + runs.back().count == location;
        if (follows && runs.back().count < kReadBytes / store::kChunkBytes)
            ++runs.back().count;
        else
            runs.push_back({location, 1});
    }
    return runs;
}

}  // namespace

BootTraces::BootTraces(std::filesystem::path folder, store::ImageStore& store,
                       std::chrono::seconds length)
    : folder_(std::move(folder)), store_(store), length_(length) {}

// What was to be written still is; what was to be read ahead is not.
BootTraces::~BootTraces() { stopping_.cancel = true; }

// ---- Files

void BootTraces::load(Problems& problems) {
    if (!folder_or_set_aside(folder_, "what boots read first is not kept", problems)) return;
    // Setting aside adds names to the folder: they are listed first.
    std::vector<std::string> versions;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder_, error))
        if (auto name = entry.path().filename().string(); is_version(name))
            versions.push_back(std::move(name));
    for (const std::string& version : versions)
        load_or_set_aside(
            {folder_ / version, kMaxFileBytes, "the next boot of that version is recorded again"},
            [&](const std::string& text) -> Result<> {
                GOLDLINK_TRY_ASSIGN(Trace trace, parse(text));
                const std::lock_guard lock(mutex_);
                traces_[version] = std::move(trace);
                return {};
            },
            problems);
}

Result<BootTraces::Trace> BootTraces::parse(const std::string& text) {
    GOLDLINK_TRY_ASSIGN(const json::object o, json::parse_object(text));
    Trace trace;
    GOLDLINK_TRY_ASSIGN(trace.info.recorded_at, json::string_field(o, "recorded_at", 1, 64));
    GOLDLINK_TRY_ASSIGN(trace.info.inherited, json::bool_field(o, "inherited"));
    GOLDLINK_TRY_ASSIGN(const json::array items,
                        json::array_field(o, "chunks", disk::ReadTrace::kMaxChunks));
    std::vector<std::uint32_t> chunks;
    for (const json::value& item : items) {
        if (!item.is_int64() || item.get_int64() < 0 || item.get_int64() > UINT32_MAX)
            return failure(ErrorKind::corrupt, "'chunks' has what is no chunk's number");
        chunks.push_back(static_cast<std::uint32_t>(item.get_int64()));
    }
    trace.info.chunks = chunks.size();
    trace.chunks = std::make_shared<const std::vector<std::uint32_t>>(std::move(chunks));
    return trace;
}

Result<> BootTraces::write(const std::string& version, const Trace& trace) const {
    json::array chunks;
    for (const std::uint32_t chunk : *trace.chunks) chunks.emplace_back(chunk);
    const json::object o{{"recorded_at", trace.info.recorded_at},
                         {"inherited", trace.info.inherited},
                         {"chunks", std::move(chunks)}};
    return replace_file(folder_ / version, json::serialize(o));
}

void BootTraces::keep(const std::string& version, Trace trace) {
    if (const auto written = write(version, trace); !written)
        log::warn("a boot trace lasts only until the next start: {}", written.error().message);
    const std::lock_guard lock(mutex_);
    traces_[version] = std::move(trace);
}

void BootTraces::forget(const std::string& version) {
    {
        const std::lock_guard lock(mutex_);
        traces_.erase(version);
    }
    background_.post([file = folder_ / version] {
        std::error_code ignored;
        std::filesystem::remove(file, ignored);
    });
}

// ---- Recording

std::shared_ptr<disk::ReadTrace> BootTraces::begin(const std::string& version,
                                                   std::uint64_t size_bytes) {
    const std::lock_guard lock(mutex_);
    if (length_.count() == 0 || stopping_.cancel) return nullptr;
    const auto known = traces_.find(version);
    if (known != traces_.end() && !known->second.info.inherited) return nullptr;
    if (std::exchange(recording_[version], true)) return nullptr;
    return std::make_shared<disk::ReadTrace>(size_bytes);
}

void BootTraces::end(const std::string& version, std::shared_ptr<const disk::ReadTrace> trace) {
    background_.post([this, version, trace = std::move(trace)] {
        Trace made;
        made.info.chunks = trace->chunks().size();
        made.info.recorded_at = rfc3339_now();
        made.chunks = std::make_shared<const std::vector<std::uint32_t>>(trace->chunks());
        if (made.info.chunks >= kMinChunks) {
            log::info("a boot of version {} read {} MiB first: they are read ahead from now on",
                      version.substr(0, 12), made.info.chunks * store::kChunkBytes >> 20);
            keep(version, std::move(made));
        }
        const std::lock_guard lock(mutex_);
        recording_.erase(version);
    });
}

void BootTraces::follow(const std::string& version, const std::string& before) {
    background_.post([this, version, before] {
        Trace trace;
        {
            const std::lock_guard lock(mutex_);
            const auto from = traces_.find(before);
            if (traces_.contains(version) || from == traces_.end()) return;
            trace = from->second;
        }
        trace.info.inherited = true;
        trace.info.prewarmed_at.clear();
        keep(version, std::move(trace));
        prewarm_behind(version);
    });
}

// ---- Reading ahead

void BootTraces::prewarm_behind(const std::string& version) {
    background_.post([this, version] {
        if (stopping_.cancel) return;
        const auto done = prewarm(version, stopping_);
        if (!done && done.error().kind != ErrorKind::not_found &&
            done.error().kind != ErrorKind::cancelled)
            log::warn("version {} is not read ahead: {}", version.substr(0, 12),
                      done.error().message);
    });
}

Result<std::uint64_t> BootTraces::prewarm(const std::string& version, store::Progress& progress) {
    std::shared_ptr<const std::vector<std::uint32_t>> chunks;
    {
        const std::lock_guard lock(mutex_);
        const auto found = traces_.find(version);
        if (found == traces_.end())
            return failure(ErrorKind::not_found,
                           fmt::format("no boot of version {} was recorded yet: let a client boot "
                                       "from it once",
                                       version));
        chunks = found->second.chunks;
    }
    GOLDLINK_TRY_ASSIGN(const auto opened, store_.open_version(version));
    const std::vector<Run> runs = runs_of(*opened, *chunks);
    std::uint64_t total = 0;
    for (const Run& run : runs) total += run.count * store::kChunkBytes;
    total = std::min(total, available_memory_bytes() / 2);
    progress.total_bytes = total;
    progress.done_bytes = 0;
    std::vector<std::uint8_t> buffer(kReadBytes);
    std::uint64_t read = 0;
    for (const Run& run : runs) {
        if (progress.cancel) return failure(ErrorKind::cancelled, "reading ahead was cancelled");
        if (read >= total) break;
        const std::uint64_t length = run.count * store::kChunkBytes;
        const int fd = opened->pack_fd(run.first);
        const std::uint64_t offset = store::Version::slot_offset_bytes(run.first);
        for (std::uint64_t done = 0; done < length;) {
            const ssize_t n =
                ::pread(fd, buffer.data(), length - done, static_cast<off_t>(offset + done));
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) return system_failure("cannot read a pack ahead");
            if (n == 0) break;  // who reads the chunk itself is told that it is not there
            done += static_cast<std::uint64_t>(n);
        }
        read += length;
        progress.done_bytes = read;
    }
    const std::lock_guard lock(mutex_);
    if (const auto found = traces_.find(version); found != traces_.end()) {
        found->second.info.prewarmed_at = rfc3339_now();
        found->second.info.prewarmed_bytes = read;
    }
    return read;
}

std::optional<BootTraces::Info> BootTraces::info(const std::string& version) const {
    const std::lock_guard lock(mutex_);
    const auto found = traces_.find(version);
    if (found == traces_.end()) return std::nullopt;
    return found->second.info;
}

std::vector<std::uint32_t> BootTraces::chunks(const std::string& version) const {
    const std::lock_guard lock(mutex_);
    const auto found = traces_.find(version);
    return found == traces_.end() ? std::vector<std::uint32_t>() : *found->second.chunks;
}

}  // namespace goldlink::control
