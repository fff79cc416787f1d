// ImageSource: a disk image file of any known format, opened as the raw disk it holds.
// Raw files are read in place; packed ones are unpacked, other formats converted, into sparse
// files in the spool, removed when this object goes. Used by one thread.
#pragma once

#include <optional>

#include "common/file.hpp"
#include "common/source_guard.hpp"
#include "target/store/image_store.hpp"
#include "target/store/spool_file.hpp"

namespace goldlink::store {

class ImageSource {
  public:
    // Sets progress.total_bytes; a conversion counts as much as the import that follows it.
    static Result<std::unique_ptr<ImageSource>> open(const ImportRequest& request,
                                                     const std::filesystem::path& spool,
                                                     Progress& progress);
    int raw_fd() const { return fd_.get(); }
    const std::string& name() const { return name_; }  // as the admin knows it
    // To be asked when raw_fd() has been read: refuses when a file was written to since open().
    Result<> check_unchanged() const;

  private:
    // Takes off what the file is packed in, a compression and an archive, and leaves the request
    // with the spooled file that was in it.
    Result<> unwrap(ImportRequest& request, const std::filesystem::path& spool, Progress& progress);

    FileDescriptor fd_;
    std::optional<SourceGuard> guard_;  // of the file that is read in place
    std::string name_;
    std::optional<SpoolFile> unpacked_, spooled_;
};

}  // namespace goldlink::store
