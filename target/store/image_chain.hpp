// The files an image is made of: the one to import, and those its headers refer to. A reference is
// satisfied only by a file that the caller named (or that lies beside, where he said so), found by
// the last part of its name; a path, a `..` or a URL in an image leads nowhere. Threads: any.
#pragma once

#include <vector>

#include "common/file.hpp"
#include "common/source_guard.hpp"
#include "target/store/image_format.hpp"
#include "target/store/image_store.hpp"

namespace goldlink::store {

inline constexpr std::size_t kMaxImageLayers = 32;

struct ChainFile {
    std::filesystem::path file;
    std::string name;
    FileDescriptor fd;
    ImageKind kind;  // the extents' files are their paths
    std::vector<FileDescriptor> extent_fds{};
    std::vector<SourceGuard> guards{};  // of all these files

    Result<> check_unchanged() const;
};

// The newest layer first, each the parent of the one before it. `name` is of request.file, as the
// admin knows it. Refused: a reference that no file satisfies, one that leads back to a layer, a
// parent that is not the one the child was made over (VHD), a file that another program writes to.
Result<std::vector<ChainFile>> open_chain(const ImportRequest& request, const std::string& name);

}  // namespace goldlink::store
