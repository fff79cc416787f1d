#include "target/store/store_folder.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <random>

#include "common/file.hpp"
#include "common/log.hpp"

namespace goldlink::store {

namespace {

constexpr std::size_t kMaxIdBytes = 64;
constexpr std::string_view kWayOut =
    "nothing was changed. Put the index back, or have it made anew from packs and manifests with "
    "\"goldlink store rebuild\"";

std::filesystem::path index_folder(const std::filesystem::path& folder) { return folder / "index"; }

Failure unusable_index(const std::filesystem::path& folder, ErrorKind kind, std::string_view why) {
    return failure(kind, fmt::format("the image store's index {} {}; {}",
                                     index_folder(folder).string(), why, kWayOut));
}

Result<std::uint64_t> count_names(Storage& storage, const std::filesystem::path& folder,
                                  std::string_view ending) {
    std::vector<std::string> names;
    if (const int error = storage.list(folder, names); error < 0 && error != -ENOENT)
        return system_failure(fmt::format("cannot list {}", folder.string()), -error);
    return static_cast<std::uint64_t>(
        std::count_if(names.begin(), names.end(), [&](const std::string& name) {
            return ending.empty() ? parse_digest(name).has_value() : name.ends_with(ending);
        }));
}

Result<std::optional<std::uint64_t>> read_id(const std::filesystem::path& folder) {
    const auto file = id_file_of(folder);
    const auto text = read_file(file, kMaxIdBytes);
    if (!text && text.error().kind == ErrorKind::not_found) return std::optional<std::uint64_t>();
    if (!text) return Failure(text.error());
    std::uint64_t id = 0;
    const auto end = text->data() + text->size();
    const auto [stop, error] = std::from_chars(text->data(), end, id, 16);
    if (error != std::errc() || id == 0 || stop == end || *stop != '\n')
        return failure(ErrorKind::corrupt,
                       fmt::format("{} is damaged, which says which index is the image store's; "
                                   "restore it, or remove it: then the index that is there counts",
                                   file.string()));
    return std::optional(id);
}

std::uint64_t new_id() {
    std::random_device random;
    return (std::uint64_t{random()} << 32 | random()) | 1;
}

std::string contents_text(const StoreContents& contents) {
    return fmt::format("{} packs and {} manifests of versions", contents.packs, contents.manifests);
}

// Before anything is written to it.
Result<> check_owner(const std::filesystem::path& folder, const StoreContents& contents,
                     std::uint64_t id, bool has_content) {
    if (contents.id && id != *contents.id)
        return unusable_index(folder, ErrorKind::corrupt,
                              id == 0 && !has_content
                                  ? "is empty, and was made anew after it was lost"
                                  : "is not the one of this image store: it is another's, or was "
                                    "copied from before this store knew its own");
    if (!contents.id && id == 0 && !has_content && contents.packs + contents.manifests > 0)
        return unusable_index(folder, ErrorKind::corrupt,
                              fmt::format("is empty, but there are {}", contents_text(contents)));
    return {};
}

}  // namespace

Failure bad_index(const std::filesystem::path& folder, const Error& error) {
    if (error.message.find(kWayOut) != std::string::npos) return Failure(error);
    return unusable_index(folder, ErrorKind::corrupt, error.message);
}

std::filesystem::path id_file_of(const std::filesystem::path& folder) { return folder / "id"; }
std::string id_file_text(std::uint64_t id) { return fmt::format("{:016x}\n", id); }

Result<FileDescriptor> lock_folder(const std::filesystem::path& folder, std::string_view what) {
    FileDescriptor lock(::open((folder / "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    if (!lock) return system_failure(fmt::format("cannot open {}", (folder / "lock").string()));
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) == 0) return lock;
    if (errno == EWOULDBLOCK)
        return failure(ErrorKind::conflict,
                       fmt::format("{} {} is in use by another process; stop it, or give this one "
                                   "another state folder",
                                   what, folder.string()));
    return system_failure(fmt::format("cannot lock {}", (folder / "lock").string()));
}

Result<StoreContents> look_into_store(const std::filesystem::path& folder, Storage& storage) {
    StoreContents contents;
    GOLDLINK_TRY_ASSIGN(contents.packs, count_names(storage, folder / "packs", ".pack"));
    GOLDLINK_TRY_ASSIGN(contents.manifests, count_names(storage, folder / "manifests", ""));
    std::error_code error;
    const auto size = std::filesystem::file_size(index_folder(folder) / "data.mdb", error);
    contents.index = !error && size > 0;
    GOLDLINK_TRY_ASSIGN(contents.id, read_id(folder));
    return contents;
}

Result<> check_store_format(const std::filesystem::path& folder, const StoreContents& contents) {
    const auto path = folder / "format";
    const auto found = read_file(path, 256);
    if (!found && found.error().kind != ErrorKind::not_found) return Failure(found.error());
    if (!found) {
        if (contents.begun())
            return failure(
                ErrorKind::corrupt,
                fmt::format("{} is missing beside an image store; restore it (its one "
                            "line is \"{}\" unless a newer program wrote the store), or "
                            "move the folder away to begin an empty store",
                            path.string(), kStoreFormat.substr(0, kStoreFormat.size() - 1)));
        return goldlink::replace_file(path, kStoreFormat);
    }
    if (*found == kStoreFormat) return {};
    return failure(ErrorKind::invalid,
                   fmt::format("{} says \"{}\", this program reads \"{}\": start the newer program "
                               "that wrote it",
                               path.string(), found->substr(0, found->find('\n')),
                               kStoreFormat.substr(0, kStoreFormat.size() - 1)));
}

Result<std::unique_ptr<ChunkIndex>> open_store_index(const std::filesystem::path& folder,
                                                     const StoreContents& contents) {
    if (!contents.index && (contents.packs + contents.manifests > 0 || contents.id))
        return unusable_index(
            folder, ErrorKind::not_found,
            fmt::format("is missing or empty, but there are {}", contents_text(contents)));
    auto opened =
        ChunkIndex::open(index_folder(folder), [&](std::uint64_t id, bool has_content) -> Result<> {
            return check_owner(folder, contents, id, has_content);
        });
    if (!opened) {
        if (opened.error().kind == ErrorKind::corrupt) return bad_index(folder, opened.error());
        return opened;
    }
    if (!contents.id) {
        GOLDLINK_TRY_ASSIGN(auto txn, (*opened)->begin_write());
        GOLDLINK_TRY_ASSIGN(std::uint64_t id, txn.meta(ChunkIndex::kStoreId));
        if (id == 0) GOLDLINK_TRY(txn.put_meta(ChunkIndex::kStoreId, id = new_id()));
        GOLDLINK_TRY(txn.commit());
        GOLDLINK_TRY(goldlink::replace_file(id_file_of(folder), id_file_text(id)));
    }
    return opened;
}

Result<std::vector<std::string>> unknown_manifests(const std::filesystem::path& folder,
                                                   const ChunkIndex& index, Storage& storage) {
    std::vector<std::string> names, unknown;
    const auto manifests = folder / "manifests";
    if (const int error = storage.list(manifests, names); error < 0 && error != -ENOENT)
        return system_failure(fmt::format("cannot list {}", manifests.string()), -error);
    GOLDLINK_TRY_ASSIGN(const auto txn, index.begin_read());
    for (const std::string& name : names) {
        const auto digest = parse_digest(name);
        if (!digest) continue;
        GOLDLINK_TRY_ASSIGN(const auto version, txn.version(*digest));
        GOLDLINK_TRY_ASSIGN(const bool pending, txn.pending(*digest));
        if (!version && !pending) unknown.push_back(name);
    }
    std::sort(unknown.begin(), unknown.end());
    return unknown;
}

Error older_index(const std::filesystem::path& folder, const std::vector<std::string>& unknown) {
    return {
        ErrorKind::corrupt,
        fmt::format("the image store's index {} does not know {} of the manifests in {}, {} "
                    "for one: it is older than these, or they are another store's. What it "
                    "knows is served, and nothing is written. Put the right index back, have "
                    "it made anew with \"goldlink store rebuild\", or move these manifests away",
                    index_folder(folder).string(), unknown.size(), (folder / "manifests").string(),
                    unknown.front()),
        0};
}

}  // namespace goldlink::store
