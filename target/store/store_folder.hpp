// What the folder of an image store holds, looked at before anything in it is opened or written,
// and the one way that its index is opened. An index that is missing, empty, damaged, another
// store's or older than the store is never taken for "there is nothing": all that is not in it
// would be deleted or written over. Threads: any.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/file.hpp"
#include "target/store/chunk_index.hpp"
#include "target/store/storage.hpp"

namespace goldlink::store {

inline constexpr std::string_view kStoreFormat = "goldlink image store 1\n";

// flock()s the folder's lock file; conflict when another process has it. `what` is for the error.
Result<FileDescriptor> lock_folder(const std::filesystem::path& folder, std::string_view what);
inline Result<FileDescriptor> lock_store(const std::filesystem::path& folder) {
    return lock_folder(folder, "the image store");
}

struct StoreContents {
    std::uint64_t packs = 0, manifests = 0;  // files
    bool index = false;                      // there is a file that is not empty
    std::optional<std::uint64_t> id;         // that the folder remembers of its index

    bool begun() const { return packs + manifests > 0 || index || id; }
};
Result<StoreContents> look_into_store(const std::filesystem::path& folder, Storage& storage);

// Refuses a format that is not ours, and one that is missing beside a store. Writes it for a new
// one.
Result<> check_store_format(const std::filesystem::path& folder, const StoreContents& contents);

// The index, when it is this store's and sound; made for a new store. Otherwise refused with the
// way out, and nothing is changed.
Result<std::unique_ptr<ChunkIndex>> open_store_index(const std::filesystem::path& folder,
                                                     const StoreContents& contents);

// Manifests that the index neither names nor knows to come or go.
Result<std::vector<std::string>> unknown_manifests(const std::filesystem::path& folder,
                                                   const ChunkIndex& index, Storage& storage);
// How many these are, what that means and the way out.
Error older_index(const std::filesystem::path& folder, const std::vector<std::string>& unknown);

// An error that was found in the index, with the index's name and the way out.
Failure bad_index(const std::filesystem::path& folder, const Error& error);
std::filesystem::path id_file_of(const std::filesystem::path& folder);
std::string id_file_text(std::uint64_t id);

}  // namespace goldlink::store
