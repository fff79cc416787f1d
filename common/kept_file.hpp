// State that a daemon finds at its start and can serve without: tasks, pins, boot traces, events,
// the boot table, DHCP leases.
//
// Such a file may be cut short, garbled, empty, from a newer program, or a folder of that name. It
// is then renamed to NAME.damaged-TIME, so that nothing is lost and nothing writes over it; the
// daemon goes on without it and says so, in its log and in its Problems. Threads: any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "common/problems.hpp"
#include "common/result.hpp"

namespace boost::json {
class object;
}

namespace goldlink {

struct KeptFile {
    std::filesystem::path path;
    std::size_t max_bytes = 0;
    // What it means to go on without it: "tasks of before this start are forgotten".
    std::string without{};
};

// True when the file is there and `parse` took its content. What `parse` changed before it failed
// it has to take back itself.
bool load_or_set_aside(const KeptFile& file,
                       const std::function<Result<>(const std::string&)>& parse,
                       Problems& problems);

// Renames what is at `path`, and says in log and problems why, and what is done without it.
void set_aside(const std::filesystem::path& path, const std::string& why,
               const std::string& without, Problems& problems);

// Makes the folder; something else of that name is set aside. False, with a problem noted, when
// there is no folder all the same (a full disk).
bool folder_or_set_aside(const std::filesystem::path& folder, const std::string& without,
                         Problems& problems);

// The member "format" of a state file must be the one that this program writes.
Result<> check_format(const boost::json::object& o, std::int64_t known);

}  // namespace goldlink
