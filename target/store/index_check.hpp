// Whether an LMDB file can be opened without harm. LMDB maps its file and believes it: a page
// number past the end is a SIGBUS, an offset that leaves its page a stray read, and some others an
// abort(). So the whole tree of pages is gone over by read() first, when somebody else than we may
// have written to the file since we closed it.
//
// Layout (LMDB 0.9, 64 bits, the machine's byte order): pages of md_pad bytes; pages 0 and 1 are
// metas, the one with the higher transaction number counts; it has the roots of the tree of free
// pages and of the tree of tables, whose values are roots again. Pages that no tree reaches are
// free and may lie past the end of the file.
// Threads: any.
#pragma once

#include <filesystem>

#include "common/result.hpp"

namespace goldlink::store {

// Refuses (corrupt) what LMDB could not read; the message goes on after the file's name. An empty
// file and a missing one are refused, too.
Result<> check_index_file(const std::filesystem::path& file);

// Notes beside `file` how it is now that nobody has it open; what is noted there says later that
// it is still so, and need not be checked.
void note_index_closed(const std::filesystem::path& file);
bool index_is_as_closed(const std::filesystem::path& file);

}  // namespace goldlink::store
