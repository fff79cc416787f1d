#include "target/usage/reader/file_walk.hpp"

#include <algorithm>
#include <new>

#include "common/clean_text.hpp"

namespace goldlink::usage {
namespace {

constexpr TSK_INUM_T kFirstNtfsFile = 24;  // before it: $MFT, $LogFile and the like
constexpr unsigned kMaxDepth = 128;        // of folders
constexpr unsigned kBlocksBetweenLooks = 4096;

struct Kind {
    FileSystem detected;
    TSK_FS_TYPE_ENUM type;
};
constexpr Kind kKinds[] = {{FileSystem::ntfs, TSK_FS_TYPE_NTFS},
                           {FileSystem::exfat, TSK_FS_TYPE_EXFAT},
                           {FileSystem::fat, TSK_FS_TYPE_FAT_DETECT},
                           {FileSystem::ext, TSK_FS_TYPE_EXT_DETECT}};

constexpr struct {
    TSK_FS_TYPE_ENUM type;
    FileSystem file_system;
} kTypes[] = {{TSK_FS_TYPE_NTFS, FileSystem::ntfs},   {TSK_FS_TYPE_FAT12, FileSystem::fat12},
              {TSK_FS_TYPE_FAT16, FileSystem::fat16}, {TSK_FS_TYPE_FAT32, FileSystem::fat32},
              {TSK_FS_TYPE_EXFAT, FileSystem::exfat}, {TSK_FS_TYPE_EXT2, FileSystem::ext2},
              {TSK_FS_TYPE_EXT3, FileSystem::ext3},   {TSK_FS_TYPE_EXT4, FileSystem::ext4}};

bool more(std::uint64_t a, std::uint64_t b) { return a > b; }

}  // namespace

FileWalk::FileWalk(Disk& disk, const WrittenBlocks& written, Claims& claims, Order::Range partition,
                   std::uint32_t files, Clock::time_point until)
    : disk_(disk),
      written_(written),
      claims_(claims),
      partition_(partition),
      files_(files),
      until_(until) {}

Contents FileWalk::run(FileSystem detected) {
    contents_.file_system = detected;
    contents_.gap = Gap::damaged;
    const auto* const kind =
        std::find_if(std::begin(kKinds), std::end(kKinds),
                     [detected](const Kind& each) { return each.detected == detected; });
    if (kind == std::end(kKinds)) return std::move(contents_);
    fs_ =
        tsk_fs_open_img(disk_.image(), static_cast<TSK_OFF_T>(partition_.offset_bytes), kind->type);
    if (fs_ == nullptr) return std::move(contents_);
    for (const auto& [type, file_system] : kTypes)
        if (fs_->ftype == type) contents_.file_system = file_system;
    const std::uint64_t most_blocks = partition_.length_bytes / fs_->block_size;
    fs_bytes_ = std::min<std::uint64_t>(fs_->last_block_act, most_blocks) * fs_->block_size;
    fs_bytes_ = std::min(fs_bytes_ + fs_->block_size, partition_.length_bytes);
    contents_.gap = Gap::none;
    if (written_.bytes_in(partition_.offset_bytes, fs_bytes_) > 0) {
        const std::uint64_t unreadable_before = disk_.unreadable_count();
        walk();
        if (contents_.gap == Gap::none && disk_.unreadable_count() != unreadable_before)
            contents_.gap = Gap::damaged;
        // Otherwise what no file has claimed may be the other files'.
        if (contents_.gap == Gap::none) count_rest();
        name_files();
    }
    tsk_fs_close(fs_);
    return std::move(contents_);
}

bool FileWalk::late() {
    if (contents_.gap == Gap::none && Clock::now() >= until_) contents_.gap = Gap::time;
    return contents_.gap == Gap::time || contents_.gap == Gap::memory;
}

// Nothing may be thrown through the library, which is C.
TSK_WALK_RET_ENUM FileWalk::step(TSK_FS_FILE* file, const char* folder) noexcept {
    try {
        if (late()) return TSK_WALK_STOP;
        if (file != nullptr) count(*file, folder);
    } catch (const std::bad_alloc&) {
        contents_.gap = Gap::memory;
        return TSK_WALK_STOP;
    }
    return TSK_WALK_CONT;
}

// An NTFS is read in the order of its table, names afterwards; of the others the directories are
// walked, because only these have the names.
void FileWalk::walk() {
    std::uint8_t failed = 0;
    if (contents_.file_system == FileSystem::ntfs) {
        // The last address is a folder that the library makes up.
        failed = tsk_fs_meta_walk(
            fs_, fs_->first_inum, fs_->last_inum - 1,
            static_cast<TSK_FS_META_FLAG_ENUM>(TSK_FS_META_FLAG_ALLOC | TSK_FS_META_FLAG_USED),
            [](TSK_FS_FILE* file, void* self) {
                return static_cast<FileWalk*>(self)->step(file, nullptr);
            },
            this);
    } else {
        failed = tsk_fs_dir_walk(
            fs_, fs_->root_inum,
            static_cast<TSK_FS_DIR_WALK_FLAG_ENUM>(TSK_FS_DIR_WALK_FLAG_ALLOC |
                                                   TSK_FS_DIR_WALK_FLAG_RECURSE |
                                                   TSK_FS_DIR_WALK_FLAG_NOORPHAN),
            [](TSK_FS_FILE* file, const char* folder, void* self) {
                return static_cast<FileWalk*>(self)->step(file, folder);
            },
            this);
    }
    if (failed != 0 && contents_.gap == Gap::none) contents_.gap = Gap::damaged;
}

void FileWalk::count(TSK_FS_FILE& file, const char* folder) {
    const TSK_FS_META* const meta = file.meta;
    if (meta == nullptr || meta->type != TSK_FS_META_TYPE_REG ||
        (meta->flags & TSK_FS_META_FLAG_ALLOC) == 0)
        return;
    if (contents_.file_system == FileSystem::ntfs && meta->addr < kFirstNtfsFile) return;
    // All streams of it; the blocks of an ext file's extent tree are the file system's.
    std::uint64_t bytes = 0;
    const int attributes = tsk_fs_file_attr_getsize(&file);
    for (int i = 0; i < attributes; ++i) {
        const TSK_FS_ATTR* const attribute = tsk_fs_file_attr_get_idx(&file, i);
        if (attribute != nullptr && (attribute->flags & TSK_FS_ATTR_NONRES) != 0 &&
            attribute->type != TSK_FS_ATTR_TYPE_UNIX_INDIR &&
            attribute->type != TSK_FS_ATTR_TYPE_UNIX_EXTENT)
            bytes += claim(*attribute);
    }
    if (bytes == 0) return;
    contents_.file_bytes += bytes;
    ++contents_.file_count;
    if (files_ == 0 || (largest_.size() == files_ && largest_.front().use.written_bytes >= bytes))
        return;
    Found found;
    found.address = meta->addr;
    found.use.written_bytes = bytes;
    found.use.size_bytes = static_cast<std::uint64_t>(std::max<TSK_OFF_T>(meta->size, 0));
    if (folder != nullptr) {
        found.use.path = std::string("/") + folder;
        if (file.name != nullptr && file.name->name != nullptr) found.use.path += file.name->name;
    }
    keep(std::move(found));
}

std::uint64_t FileWalk::claim(const TSK_FS_ATTR& attribute) {
    std::uint64_t bytes = 0;
    unsigned seen = 0;
    for (const TSK_FS_ATTR_RUN* run = attribute.nrd.run; run != nullptr; run = run->next) {
        if (++seen % kBlocksBetweenLooks == 0 && late()) break;
        if ((run->flags & (TSK_FS_ATTR_RUN_FLAG_SPARSE | TSK_FS_ATTR_RUN_FLAG_FILLER)) != 0)
            continue;
        const std::uint64_t blocks = (fs_bytes_ + fs_->block_size - 1) / fs_->block_size;
        if (run->addr >= blocks) continue;
        const std::uint64_t offset = run->addr * fs_->block_size;
        const std::uint64_t length =
            std::min<std::uint64_t>(run->len, blocks - run->addr) * fs_->block_size;
        bytes +=
            claims_.take(partition_.offset_bytes + offset, std::min(length, fs_bytes_ - offset));
    }
    return bytes;
}

void FileWalk::keep(Found found) {
    const auto smaller_last = [](const Found& a, const Found& b) {
        return more(a.use.written_bytes, b.use.written_bytes);
    };
    if (largest_.size() == files_) {
        std::pop_heap(largest_.begin(), largest_.end(), smaller_last);
        largest_.pop_back();
    }
    largest_.push_back(std::move(found));
    std::push_heap(largest_.begin(), largest_.end(), smaller_last);
}

// The first of its names, as a hard link may have others.
FileWalk::Name FileWalk::name_of_entry(TSK_INUM_T address) {
    if (const auto known = names_.find(address); known != names_.end()) return known->second;
    Name name;
    if (TSK_FS_FILE* const file = tsk_fs_file_open_meta(fs_, nullptr, address); file != nullptr) {
        if (file->meta != nullptr && file->meta->name2 != nullptr)
            name = {file->meta->name2->name, file->meta->name2->par_inode};
        tsk_fs_file_close(file);
    }
    return names_[address] = name;
}

std::string FileWalk::path_of(TSK_INUM_T address) {
    std::string path;
    for (unsigned depth = 0; depth < kMaxDepth; ++depth) {
        const Name name = name_of_entry(address);
        if (name.name.empty()) break;
        path = "/" + name.name + path;
        if (name.parent == fs_->root_inum) return path;
        address = name.parent;
    }
    return "(lost)" + path;
}

void FileWalk::name_files() {
    for (Found& found : largest_) {
        if (found.use.path.empty()) found.use.path = path_of(found.address);
        found.use.path = clean_text(found.use.path, kMaxPathBytes, Keep::end);
        contents_.files.push_back(std::move(found.use));
    }
    std::sort(contents_.files.begin(), contents_.files.end(),
              [](const FileUse& a, const FileUse& b) {
                  return a.written_bytes != b.written_bytes ? more(a.written_bytes, b.written_bytes)
                                                            : a.path < b.path;
              });
}

// By the file system's blocks. The library's walk over blocks would read them all; what it asks for
// each of them is all that is wanted here.
void FileWalk::count_rest() {
    unsigned seen = 0;
    written_.each_in(partition_.offset_bytes, fs_bytes_, [&](const WrittenBlocks::Piece& piece) {
        for (std::uint64_t done = 0; done < piece.length_bytes;) {
            const std::uint64_t within = piece.offset_bytes + done - partition_.offset_bytes;
            const std::uint64_t block = within / fs_->block_size;
            const std::uint64_t here =
                std::min((block + 1) * fs_->block_size - within, piece.length_bytes - done);
            std::uint64_t unclaimed = 0;
            for (std::uint64_t unit = 0; unit < here; unit += kUnitBytes)
                if (!claims_.is_taken(piece.before_bytes + done + unit)) unclaimed += kUnitBytes;
            done += here;
            if (unclaimed == 0) continue;
            if (++seen % kBlocksBetweenLooks == 0 && late()) return false;
            const TSK_FS_BLOCK_FLAG_ENUM flags = fs_->block_getflags(fs_, block);
            if ((flags & TSK_FS_BLOCK_FLAG_ALLOC) != 0)
                contents_.metadata_bytes += unclaimed;
            else if ((flags & TSK_FS_BLOCK_FLAG_UNALLOC) != 0)
                contents_.free_bytes += unclaimed;
        }
        return true;
    });
}

}  // namespace goldlink::usage
