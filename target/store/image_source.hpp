// ImageSource: a disk image file of any known format, opened as the raw disk it holds.
// Raw files are read in place; compressed ones are unpacked, other formats converted, into sparse
// files in the spool, removed when this object goes. Used by one thread.
#pragma once

#include <optional>

#include "common/file.hpp"
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

  private:
    FileDescriptor fd_;
    std::string name_;
    std::optional<SpoolFile> unpacked_, spooled_;
};

}  // namespace goldlink::store
