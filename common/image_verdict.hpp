// Whether a file can be a disk image that an import takes, by its first bytes, and its last ones
// when they are there: the one judgement of the command line before it sends, of the target while
// an upload comes, and of the import. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "common/bytes.hpp"
#include "common/result.hpp"

namespace goldlink {

struct FileLook {
    std::string_view name;     // for messages
    std::uint64_t size_bytes;  // that it has, or will have
    Bytes first;               // kMagicFirstBytes, or all there are
    std::optional<Bytes>
        last;  // kMagicLastBytes, or all there are; nullopt: they are still to come
};

// Refuses, with what the file is and what to do, what the import would refuse for its first bytes:
// - with format "": files of programs that are known and not read here, ISO discs, a disk that its
//   own partition table says was cut short, and what has no sign of a disk at all
// - with another format: what is not of it ("raw" takes anything)
// A compressed file and an archive may hold anything.
Result<> check_importable(const FileLook& look, std::string_view format);

}  // namespace goldlink
