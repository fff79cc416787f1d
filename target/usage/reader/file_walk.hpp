// One partition's file system, read by libtsk: whose the written blocks are. Files claim theirs
// first, a block once (Claims); of the rest the file system says whether it is in use, by its own
// tables and directories, or free. Stops at the deadline with what it has. One thread.
#pragma once

#include <tsk/libtsk.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "target/usage/reader/disk.hpp"

namespace goldlink::usage {

class FileWalk {
  public:
    using Clock = std::chrono::steady_clock;
    FileWalk(Disk& disk, const WrittenBlocks& written, Claims& claims, Order::Range partition,
             std::uint32_t files, Clock::time_point until);

    // `detected` is readable.
    Contents run(FileSystem detected);

  private:
    // Not yet with its path, for NTFS.
    struct Found {
        FileUse use;
        TSK_INUM_T address = 0;
    };
    struct Name {
        std::string name;
        TSK_INUM_T parent = 0;
    };

    bool late();
    TSK_WALK_RET_ENUM step(TSK_FS_FILE* file, const char* folder) noexcept;
    void count(TSK_FS_FILE& file, const char* folder);
    std::uint64_t claim(const TSK_FS_ATTR& attribute);
    void keep(Found found);
    void walk();
    void name_files();
    Name name_of_entry(TSK_INUM_T address);
    std::string path_of(TSK_INUM_T address);
    void count_rest();

    Disk& disk_;
    const WrittenBlocks& written_;
    Claims& claims_;
    const Order::Range partition_;
    const std::size_t files_;
    const Clock::time_point until_;
    TSK_FS_INFO* fs_ = nullptr;  // while run() runs
    std::uint64_t fs_bytes_ = 0;
    std::vector<Found> largest_;  // a heap, the smallest first
    std::unordered_map<TSK_INUM_T, Name> names_;
    Contents contents_;
};

}  // namespace goldlink::usage
