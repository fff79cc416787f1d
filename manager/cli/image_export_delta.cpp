// goldlink image export of a raw disk: a file that is new, or holds an older export (--delta), or a
// block device, becomes a version. It is read and hashed a window ahead; what is not there already
// is fetched, checked and written. Every chunk of the result was compared with its digest in the
// manifest.
#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "manager/cli/connect.hpp"
#include "manager/cli/delta_file.hpp"
#include "manager/cli/disk_scan.hpp"
#include "manager/cli/image_delta.hpp"
#include "manager/cli/part_file.hpp"
#include "manager/cli/patience.hpp"
#include "manager/cli/progress.hpp"
#include "manager/cli/remote_version.hpp"

namespace goldlink::cli {

namespace {

class DeltaFetch {
  public:
    DeltaFetch(RemoteVersion& from, const Manifest& manifest, DeltaFile& file)
        : from_(from), manifest_(manifest), file_(file) {}

    Result<> run(const std::string& name) {
        Progress progress(fmt::format("fetching {}", from_.subject()), manifest_.size_bytes);
        DiskScan scan(file_.base_fd(), name, file_.base_bytes(), manifest_.size_bytes);
        for (;;) {
            GOLDLINK_TRY_ASSIGN(const DiskScan::Window* window, scan.next());
            if (window == nullptr) break;
            GOLDLINK_TRY(complete(*window));
            const std::uint64_t end = window->first_chunk + window->digests.size();
            progress.update(std::min(end * kChunkBytes, manifest_.size_bytes),
                            manifest_.size_bytes);
        }
        progress.finish();
        return {};
    }

    std::uint64_t fetched_chunks() const { return fetched_chunks_; }

  private:
    using Places = std::unordered_map<Digest, std::vector<std::uint64_t>, DigestHash>;

    Result<> complete(const DiskScan::Window& window) {
        Places places;
        std::vector<Digest> wanted;  // each once, in the order of the disk
        for (std::size_t i = 0; i < window.digests.size(); ++i) {
            const std::uint64_t chunk = window.first_chunk + i;
            const Digest& digest = manifest_.chunks[chunk];
            if (digest == window.digests[i]) {
                if (!file_.base_is_result() && !is_zero(digest))
                    GOLDLINK_TRY(file_.put(chunk, window.chunk(i)));
                continue;
            }
            if (is_zero(digest)) {
                GOLDLINK_TRY(file_.put_zeros(chunk));
                continue;
            }
            GOLDLINK_TRY_ASSIGN(const bool had, file_.put_from_old(chunk, digest));
            if (had) continue;
            auto& all = places[digest];
            if (all.empty()) wanted.push_back(digest);
            all.push_back(chunk);
        }
        return from_.fetch(wanted, [&](const Digest& digest, Bytes bytes) -> Result<> {
            for (const std::uint64_t chunk : places.at(digest))
                GOLDLINK_TRY(file_.put(chunk, bytes));
            ++fetched_chunks_;
            return {};
        });
    }

    RemoteVersion& from_;
    const Manifest& manifest_;
    DeltaFile& file_;
    std::uint64_t fetched_chunks_ = 0;
};

}  // namespace

Result<> export_by_delta(const Session& session, const DeltaExport& wanted) {
    GOLDLINK_TRY_ASSIGN(const auto ref, parse_image_ref(wanted.ref));
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(auto from, RemoteVersion::find(api, ref));
    if (wanted.is_new) GOLDLINK_TRY(check_is_new(wanted.file));
    GOLDLINK_TRY_ASSIGN(auto file, DeltaFile::open(wanted.file, from.size_bytes(),
                                                   wanted.surely_raw, wanted.is_new));
    GOLDLINK_TRY_ASSIGN(const Manifest manifest, from.manifest());
    DeltaFetch fetch(from, manifest, file);
    const auto done = [&]() -> Result<> {
        GOLDLINK_TRY(fetch.run(wanted.file));
        return file.finish();
    }();
    if (!done) {
        Error error =
            Error(done.error())
                .with_context(fmt::format("exporting {} to {}", from.subject(), wanted.file));
        if (may_pass(error)) error.message += "\n  " + file.keep();
        return Failure(std::move(error));
    }
    if (session.json) {
        print_json(json::object{{"subject", from.subject()},
                                {"file", wanted.file},
                                {"format", "raw"},
                                {"size_bytes", from.size_bytes()},
                                {"received_bytes", from.received_bytes()},
                                {"received_chunks", fetch.fetched_chunks()}});
        return {};
    }
    if (wanted.is_new) {
        print(fmt::format("{} is {} as raw, {}\n", wanted.file, from.subject(),
                          format_bytes(from.size_bytes())));
        return {};
    }
    print(fmt::format("{} is {}: {} of {} came, {} chunks that it lacked\n", wanted.file,
                      from.subject(), format_bytes(from.received_bytes()),
                      format_bytes(from.size_bytes()), fetch.fetched_chunks()));
    return {};
}

}  // namespace goldlink::cli
