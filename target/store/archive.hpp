// Archives with a disk image in them: zip, and tar, which an OVA is. bsdtar (libarchive) reads
// them, in the sandbox; which of the files is the disk is decided here, by their names. Threads:
// any; blocks.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "target/store/image_store.hpp"

namespace goldlink::store {

// So that bsdtar gives and takes names as bytes of UTF-8.
inline constexpr std::string_view kArchiveLocale = "C.UTF-8";

// bsdtar with these arguments. The password is none of anybody's: without one it would ask for it.
std::vector<std::string> archive_program(std::vector<std::string> arguments);
// A pattern of bsdtar's that this name alone matches.
std::string archive_pattern(std::string_view member);

// Which of the names is the disk: the only one that ends as a disk image does, or the only one at
// all. Refused: several, and none. `name` is the archive's, for messages. Pure.
Result<std::string> choose_disk(const std::vector<std::string>& members, const std::string& name);

// The same of the archive in the open file. `archive` is detect_archive()'s answer.
Result<std::string> find_disk_in_archive(int fd, const std::string& name,
                                         const std::string& archive, Progress& progress);

}  // namespace goldlink::store
