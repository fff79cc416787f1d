// Identity: which installation this target is, and whether a data folder is the one it had. Its
// UUID is in STATE/identity; each data folder has it in .goldlink-identity, with what the folder is
// for. So a disk that is not mounted (its folder is empty, or has no such file) and another
// installation's are known, and nothing is made, changed or deleted in them.
//
// A folder is marked the first time it is looked at; an installation of before there were markers
// gets them at its first start. Any thread.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "common/result.hpp"

namespace goldlink::control {

inline constexpr const char* kMarkerFile = ".goldlink-identity";

enum class FolderKind : std::uint8_t { store, overlays, ram };

class Identity {
  public:
    // Reads STATE/identity. One that is missing or damaged is taken from the markers of the
    // folders below STATE, or made. A later program's is an error.
    static Result<std::unique_ptr<Identity>> open(const std::filesystem::path& state_folder);

    const std::string& id() const { return id_; }

    // Whether the folder is there and this installation's; makes and marks it when it never was.
    // unavailable: not mounted, another installation's, or it cannot be read. The message says
    // which and what to do. `holds_data`: the state speaks of data in it, so an empty one is not
    // it.
    Result<> check(const std::filesystem::path& folder, FolderKind kind, bool holds_data = false);

  private:
    explicit Identity(std::filesystem::path file) : file_(std::move(file)) {}
    Result<> load(const std::filesystem::path& state_folder);
    Result<> save() const;
    Result<> mark(const std::filesystem::path& folder, FolderKind kind);

    const std::filesystem::path file_;
    std::string id_;
    std::mutex mutex_;
    // What was marked, by kind: "here", or for a RAM folder its path and the start of the machine.
    std::map<std::string, std::string> marked_;
};

}  // namespace goldlink::control
