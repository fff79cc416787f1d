// UploadSpool: files on their way into the image store. A file is written beside its name and takes
// it when whole; blocks of zeroes become holes. What comes is claimed of the space first. Threads:
// any that may block.
//
// An upload set is a folder: files that belong together (a child and its parents, the extents of a
// VMDK), each sent in as many pieces as it takes. What has arrived of a file is its length, so a
// broken upload goes on where it was, after a restart too. What nobody touched for kKeepLeftOvers
// is removed.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/http/server.hpp"
#include "common/result.hpp"
#include "target/store/space_account.hpp"

namespace goldlink::control {

struct SpooledFile {
    std::string name;
    std::uint64_t bytes = 0;  // that have arrived
};

// What comes is a disk image: one that no import could take is refused from its first bytes, and
// the rest of it is not waited for.
struct ExpectedImage {
    std::string name;    // for messages
    std::string format;  // as an import has it; "" to detect
    // Told of each part that has come, after which the file's first `bytes` are there.
    std::function<void(int fd, std::uint64_t bytes)> arrived{};
};

class UploadSpool {
  public:
    static constexpr std::size_t kMaxSetFiles = 1100;
    static constexpr std::chrono::hours kKeepLeftOvers{7 * 24};

    UploadSpool(std::filesystem::path folder, store::SpaceAccount& space)
        : folder_(std::move(folder)), space_(space) {}

    Result<> open();  // makes the folder, removes what a killed upload left
    // Returns the length. On an error nothing is left behind, an earlier file of the name is
    // intact.
    Result<std::uint64_t> receive(std::string_view name, http::BodyReader& body,
                                  const std::optional<ExpectedImage>& expected = {});
    // Of a file or a set; of a name that is not there: nothing to do.
    Result<> remove(std::string_view name);
    Result<std::filesystem::path> find(std::string_view name) const;
    // Files and sets, by name; not what is just being received in one request.
    std::vector<SpooledFile> list() const;

    // Adds `body` to a file of a set, both made when there are none, at `offset_bytes`, which must
    // be how much of it there is (conflict else); it will have `total_bytes`. Returns how much
    // there is now. On an error of the body what has arrived stays. One request a file at a time.
    Result<std::uint64_t> append(std::string_view set, const std::string& file,
                                 std::uint64_t offset_bytes, std::uint64_t total_bytes,
                                 http::BodyReader& body,
                                 const std::optional<ExpectedImage>& expected = {});
    Result<std::vector<SpooledFile>> files(std::string_view set) const;  // by name; none: empty
    Result<std::filesystem::path> find(std::string_view set, const std::string& file) const;

  private:
    // Returns how many bytes of `body` were written from `offset_bytes` on; `error` is what ended
    // it early.
    static Result<std::uint64_t> copy(
        http::BodyReader& body, int fd, std::uint64_t offset_bytes, std::uint64_t at_most,
        store::SpaceClaim& space, Error* error,
        const std::function<void(int fd, std::uint64_t bytes)>& arrived = {});
    Result<store::SpaceClaim> claim(std::string_view name, std::uint64_t coming_bytes) const;
    // Writes as much of `body` as it takes to judge the file, whose earlier bytes are in `fd`, and
    // judges it once that is there. Returns how much was written, as copy() does.
    static Result<std::uint64_t> copy_beginning(http::BodyReader& body, int fd,
                                                std::uint64_t offset_bytes,
                                                std::uint64_t total_bytes,
                                                const ExpectedImage& expected, Error* error);
    // Both in turn.
    static Result<std::uint64_t> copy_image(http::BodyReader& body, int fd,
                                            std::uint64_t offset_bytes, std::uint64_t total_bytes,
                                            const std::optional<ExpectedImage>& expected,
                                            store::SpaceClaim& space, Error* error);
    void remove_left_overs() const;

    std::filesystem::path folder_;
    store::SpaceAccount& space_;
};

// What a file takes on its filesystem; 0 when it cannot be told.
std::uint64_t disk_bytes(const std::filesystem::path& path);
// Free for us on the filesystem of `path`; 0 when it cannot be told.
std::uint64_t free_bytes_at(const std::filesystem::path& path);

}  // namespace goldlink::control
