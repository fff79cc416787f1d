// Files that are no disk image which an import reads, told by their magic numbers: what each is,
// and how to make a disk image of it. Pure.
#pragma once

#include <string_view>

#include "common/bytes.hpp"

namespace goldlink {

struct ForeignFile {
    std::string_view what;  // "a VirtualBox disk (VDI)"
    std::string_view todo;  // "convert it first: qemu-img convert ..."
};

// nullptr: none that is known. `first`: kMagicFirstBytes of the file, or what it has; `last`:
// kMagicLastBytes, empty while they are not known.
const ForeignFile* foreign_file(Bytes first, Bytes last);

}  // namespace goldlink
