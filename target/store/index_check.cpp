#include "target/store/index_check.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "common/bytes.hpp"
#include "common/file.hpp"

namespace goldlink::store {

namespace {

constexpr std::uint32_t kMagic = 0xBEEFC0DE;
constexpr std::uint32_t kDataVersion = 1;
constexpr std::size_t kPageHeaderBytes = 16, kNodeHeaderBytes = 8, kTreeBytes = 48;
constexpr std::size_t kMetaBytes = 136;
constexpr std::uint64_t kNoRoot = ~std::uint64_t{0};
constexpr unsigned kMaxDepth = 32;  // LMDB's cursors have no more room
constexpr std::uint16_t kBranch = 0x01, kLeaf = 0x02, kOverflow = 0x04, kMeta = 0x08;
constexpr std::uint16_t kBigData = 0x01, kSubTree = 0x02;
constexpr std::uint16_t kIntegerKeys = 0x08;

std::uint16_t load_16(const std::uint8_t* at) {
    return static_cast<std::uint16_t>(at[0] | at[1] << 8);
}

struct Tree {
    std::uint16_t flags = 0, depth = 0;
    std::uint64_t root = kNoRoot;
};

Tree decode_tree(const std::uint8_t* at) {
    return {load_16(at + 4), load_16(at + 6), load_le64(at + 40)};
}

struct Meta {
    std::uint32_t page_bytes = 0;
    Tree free, tables;
    std::uint64_t last_page = 0, transaction = 0;
};

struct Node {
    std::uint64_t child = 0;       // of a branch
    std::uint64_t data_bytes = 0;  // of a leaf
    std::uint16_t flags = 0;
    Bytes key;
    const std::uint8_t* data = nullptr;
};

Failure damaged(std::string why) { return failure(ErrorKind::corrupt, std::move(why)); }

class Check {
  public:
    Check(int fd, std::string name, std::uint64_t file_bytes)
        : fd_(fd), name_(std::move(name)), file_bytes_(file_bytes) {}

    Result<> run() {
        GOLDLINK_TRY_ASSIGN(const Meta meta, newest_meta());
        page_bytes_ = meta.page_bytes;
        next_page_ = meta.last_page + 1;
        seen_.resize(next_page_);
        seen_[0] = seen_[1] = true;
        GOLDLINK_TRY(walk(meta.free, Kind::free_pages));
        return walk(meta.tables, Kind::tables);
    }

  private:
    enum class Kind { free_pages, tables, table };
    struct Place {
        std::uint64_t page;
        unsigned depth;
    };

    Result<std::optional<Meta>> meta_at(std::uint64_t offset) {
        std::array<std::uint8_t, kPageHeaderBytes + kMetaBytes> bytes{};
        GOLDLINK_TRY_ASSIGN(const std::size_t n, read_at(fd_, bytes, offset, name_));
        if (n < bytes.size()) return damaged("is cut short");
        const std::uint8_t* at = bytes.data() + kPageHeaderBytes;
        if ((load_16(bytes.data() + 10) & kMeta) == 0 || load_le32(at) != kMagic)
            return std::optional<Meta>();
        if (load_le32(at + 4) != kDataVersion)
            return failure(ErrorKind::invalid,
                           fmt::format("has LMDB's format {}, this program reads {}",
                                       load_le32(at + 4), kDataVersion));
        return std::optional(Meta{load_le32(at + 24), decode_tree(at + 24),
                                  decode_tree(at + 24 + kTreeBytes), load_le64(at + 120),
                                  load_le64(at + 128)});
    }

    Result<Meta> newest_meta() {
        if (file_bytes_ == 0) return damaged("is empty");
        GOLDLINK_TRY_ASSIGN(const auto first, meta_at(0));
        if (!first) return damaged("does not begin as an LMDB file");
        const std::uint32_t page = first->page_bytes;
        if (page < 512 || page > 65536 || (page & (page - 1)) != 0)
            return damaged(fmt::format("says that its pages have {} bytes", page));
        GOLDLINK_TRY_ASSIGN(const auto second, meta_at(page));
        if (!second || second->page_bytes != page) return damaged("has a damaged second page");
        const Meta& newest = first->transaction < second->transaction ? *second : *first;
        // Of a map of 64 GiB, as ours is, there is no page beyond.
        if (newest.last_page < 1 || newest.last_page >= (std::uint64_t{64} << 30) / page)
            return damaged("says that it has more pages than can be");
        return newest;
    }

    // Each page is of one tree, once.
    Result<> take(std::uint64_t first, std::uint64_t count) {
        if (first >= next_page_ || count > next_page_ - first ||
            (first + count) * page_bytes_ > file_bytes_)
            return damaged(fmt::format("is cut short or damaged: it refers to page {} and has {}",
                                       first + count - 1, file_bytes_ / page_bytes_));
        for (std::uint64_t page = first; page < first + count; ++page) {
            if (seen_[page]) return damaged(fmt::format("refers to its page {} twice", page));
            seen_[page] = true;
        }
        return {};
    }

    Result<> walk(const Tree& tree, Kind kind) {
        if (tree.root == kNoRoot) return {};
        if (tree.depth == 0 || tree.depth > kMaxDepth)
            return damaged(fmt::format("has a tree that is {} pages deep", tree.depth));
        std::vector<Place> waiting{{tree.root, 1}};
        std::vector<Tree> tables;
        while (!waiting.empty()) {
            const Place place = waiting.back();
            waiting.pop_back();
            GOLDLINK_TRY(walk_page(place, tree, kind, waiting, tables));
        }
        for (const Tree& table : tables) GOLDLINK_TRY(walk(table, Kind::table));
        return {};
    }

    Result<> walk_page(const Place& place, const Tree& tree, Kind kind, std::vector<Place>& waiting,
                       std::vector<Tree>& tables) {
        GOLDLINK_TRY(take(place.page, 1));
        std::vector<std::uint8_t> page(page_bytes_);
        GOLDLINK_TRY_ASSIGN(const std::size_t n,
                            read_at(fd_, page, place.page * page_bytes_, name_));
        const auto refuse = [&] {
            return damaged(fmt::format("is damaged: its page {} is none of a tree", place.page));
        };
        if (n < page.size() || load_le64(page.data()) != place.page) return refuse();
        const bool leaf = place.depth == tree.depth;
        const std::uint16_t flags = load_16(page.data() + 10);
        if ((flags & (kBranch | kLeaf | kOverflow | kMeta | 0x60)) != (leaf ? kLeaf : kBranch))
            return refuse();
        const std::uint16_t lower = load_16(page.data() + 12), upper = load_16(page.data() + 14);
        if (lower < kPageHeaderBytes || lower % 2 != 0 || upper < lower || upper > page_bytes_)
            return refuse();
        const std::size_t count = (lower - kPageHeaderBytes) / 2;
        if (count == 0 || (!leaf && count < 2)) return refuse();
        std::size_t taken = 0;
        Bytes previous;
        for (std::size_t i = 0; i < count; ++i) {
            const auto node =
                node_at(page, load_16(page.data() + kPageHeaderBytes + 2 * i), upper, leaf, taken);
            if (!node) return refuse();
            if (leaf || i > 0) {
                const bool integers = kind == Kind::free_pages || (tree.flags & kIntegerKeys) != 0;
                if (integers && node->key.size() != 8) return refuse();
                if (!previous.empty() && !before(previous, node->key, integers)) return refuse();
                previous = node->key;
            }
            if (!leaf) {
                waiting.push_back({node->child, place.depth + 1});
                continue;
            }
            GOLDLINK_TRY(take_value(*node, kind, tables));
        }
        return taken > page_bytes_ - upper ? Result<>(refuse()) : Result<>();
    }

    static bool before(Bytes a, Bytes b, bool integers) {
        if (integers) return load_le64(a.data()) < load_le64(b.data());
        return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end());
    }

    std::optional<Node> node_at(const std::vector<std::uint8_t>& page, std::size_t offset,
                                std::size_t upper, bool leaf, std::size_t& taken) const {
        if (offset < upper || offset % 2 != 0 || offset + kNodeHeaderBytes > page.size())
            return std::nullopt;
        const std::uint8_t* at = page.data() + offset;
        const std::uint32_t low = load_le32(at);
        Node node;
        node.flags = load_16(at + 4);
        const std::size_t key_bytes = load_16(at + 6);
        std::size_t bytes = kNodeHeaderBytes + key_bytes;
        if (leaf) {
            node.data_bytes = low;
            bytes += (node.flags & kBigData) != 0 ? 8 : low;
        } else {
            node.child = low | std::uint64_t{node.flags} << 32;
        }
        if (bytes > page.size() - offset) return std::nullopt;
        node.key = Bytes(at + kNodeHeaderBytes, key_bytes);
        node.data = at + kNodeHeaderBytes + key_bytes;
        taken += (bytes + 1) / 2 * 2;
        return node;
    }

    Result<> take_value(const Node& node, Kind kind, std::vector<Tree>& tables) {
        const auto refuse = [] { return damaged("is damaged: it has a value of a wrong kind"); };
        if ((node.flags & ~(kBigData | kSubTree)) != 0) return refuse();
        const bool big = (node.flags & kBigData) != 0, sub = (node.flags & kSubTree) != 0;
        if (sub) {
            if (kind != Kind::tables || big || node.data_bytes != kTreeBytes) return refuse();
            tables.push_back(decode_tree(node.data));
            return {};
        }
        std::vector<std::uint8_t> value;
        Bytes data(node.data, big ? 0 : node.data_bytes);
        if (big) {
            GOLDLINK_TRY(read_big(load_le64(node.data), node.data_bytes, value));
            data = value;
        }
        return kind == Kind::free_pages ? check_free(data) : Result<>();
    }

    Result<> read_big(std::uint64_t page, std::uint64_t bytes, std::vector<std::uint8_t>& value) {
        const std::uint64_t pages = (kPageHeaderBytes + bytes + page_bytes_ - 1) / page_bytes_;
        GOLDLINK_TRY(take(page, pages));
        std::array<std::uint8_t, kPageHeaderBytes> header{};
        const std::uint64_t at = page * page_bytes_;
        GOLDLINK_TRY_ASSIGN(std::size_t n, read_at(fd_, header, at, name_));
        if (n < header.size() || load_le64(header.data()) != page ||
            load_16(header.data() + 10) != kOverflow || load_le32(header.data() + 12) != pages)
            return damaged(fmt::format("is damaged: its page {} is none of a large value", page));
        value.resize(bytes);
        GOLDLINK_TRY_ASSIGN(n, read_at(fd_, value, at + kPageHeaderBytes, name_));
        return n < bytes ? Result<>(damaged("is cut short")) : Result<>();
    }

    // A list of pages that a transaction freed: their count, then themselves, descending.
    Result<> check_free(Bytes list) {
        const auto refuse = [] { return damaged("is damaged: it has a bad list of free pages"); };
        if (list.size() < 8 || load_le64(list.data()) > list.size() / 8 - 1) return refuse();
        const std::uint64_t count = load_le64(list.data());
        for (std::uint64_t i = 1; i <= count; ++i) {
            const std::uint64_t page = load_le64(list.data() + 8 * i);
            if (page < 2 || page >= next_page_ || seen_[page]) return refuse();
            seen_[page] = true;
        }
        return {};
    }

    const int fd_;
    const std::string name_;
    const std::uint64_t file_bytes_;
    std::uint64_t page_bytes_ = 0, next_page_ = 0;
    std::vector<bool> seen_;  // by page
};

std::filesystem::path note_of(const std::filesystem::path& file) {
    return file.parent_path() / "closed";
}

// What changes when anybody writes to the file or puts another in its place; "": it is not there.
std::string state_of(const std::filesystem::path& file) {
    struct stat status {};
    if (::stat(file.c_str(), &status) != 0) return "";
    return fmt::format("{} {} {}.{:09} {}.{:09}\n", status.st_ino, status.st_size,
                       status.st_mtim.tv_sec, status.st_mtim.tv_nsec, status.st_ctim.tv_sec,
                       status.st_ctim.tv_nsec);
}

}  // namespace

Result<> check_index_file(const std::filesystem::path& file) {
    const FileDescriptor fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return system_failure(fmt::format("cannot open {}", file.string()));
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0)
        return system_failure(fmt::format("cannot examine {}", file.string()));
    if (!S_ISREG(status.st_mode)) return damaged("is no file");
    return Check(fd.get(), file.string(), static_cast<std::uint64_t>(status.st_size)).run();
}

void note_index_closed(const std::filesystem::path& file) {
    // Not durable, and need not be: without it the file is checked.
    const std::string state = state_of(file);
    const FileDescriptor fd(
        ::open(note_of(file).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (fd) (void)write_at(fd.get(), as_bytes(state), 0, "closed");
}

bool index_is_as_closed(const std::filesystem::path& file) {
    const auto noted = read_file(note_of(file), 256);
    return noted && !noted->empty() && *noted == state_of(file);
}

}  // namespace goldlink::store
