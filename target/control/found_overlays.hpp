// What lies in a folder of overlays, told by names and journal headers alone: for the start, which
// must know whose an overlay is and whether it is one to keep before it touches it. Threads: any.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "target/disk/link_disk.hpp"

namespace goldlink::control {

struct FoundOverlay {
    std::string name;  // "lun0-g4", or whatever a folder there is called
    std::filesystem::path folder;
    std::optional<std::uint16_t> lun;         // of a name in our form
    std::optional<std::uint64_t> generation;  // likewise
    // Of a journal whose header can be read.
    std::optional<disk::Policy> policy;
    std::string version;  // 64 hex digits; "" without a header

    // Its content may be somebody's work: all but what is known to be made anew at every boot.
    bool is_kept() const { return policy != disk::Policy::discard; }
};

// The folders below a link's, by name. A link folder that is not there has none.
std::vector<FoundOverlay> find_overlays(const std::filesystem::path& link_folder);

// Folders of links below `root`: those named by a UUID.
std::vector<std::filesystem::path> link_folders(const std::filesystem::path& root);

}  // namespace goldlink::control
