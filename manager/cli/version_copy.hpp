// The chunks of a version from one server to another by way of this machine: what push, pull and
// repair share. Frames pass as they come, not unpacked: the receiver checks each chunk. One thread.
// Include only from .cpp files (api.hpp).
#pragma once

#include <optional>
#include <string>

#include "manager/cli/remote_version.hpp"
#include "manager/cli/version_receiver.hpp"

namespace goldlink::cli {

// What becomes of chunks that the giving server has damaged. `leave_to_receiver`: they go the
// fastest way, unchecked, and stay missing. `refuse`: the giving server names them. `skip`: they
// are left out.
enum class BadChunks { leave_to_receiver, refuse, skip };
// Sends what the receiver lacks of the manifest's chunks.
Result<> copy_missing(RemoteVersion& from, VersionReceiver& to, const Manifest& manifest,
                      const std::string& title, BadChunks bad);

struct Mending {
    json::value task;  // done
    std::uint64_t bad_chunks = 0, mended_chunks = 0;
    bool manifest_mended = false;
    std::uint64_t sent_bytes = 0;
    bool whole() const { return mended_chunks == bad_chunks; }
};
// By the task of a repair that is done.
Result<Mending> mending_of(json::value task, const std::string& server);
// What is told of it, "win11@7: FILE had 2 of the 3 missing chunks", and the error while it is not
// whole.
std::string mending_text(const std::string& subject, const Mending& mending,
                         const std::string& from);
Failure still_damaged(const std::string& subject, const Mending& mending);
// Mends what `image`@`number` at `to` is known to lack, from a version of the same content.
Result<Mending> mend_version(Api& to, const std::string& image, std::int64_t number,
                             RemoteVersion& from);

}  // namespace goldlink::cli
