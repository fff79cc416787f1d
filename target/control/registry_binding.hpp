// RegistryBinding: which registry this target belongs to, and how far it has followed it, so that
// an empty, foreign or older one that a manager comes with is told from its own.
//
// A registry has an identity for life, and a mark that is drawn anew each time a manager begins to
// lead with it. A copy of an earlier state (a restored dump, a replica that was behind) has an
// older mark, or the same mark and a lower revision than what was pushed here. The registry keeps
// the mark before the present one too: a manager may be killed after it drew one and before it told
// us.
//
// State file: STATE_DIR/registry.json. Threads: any that may block on the disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>

#include "common/result.hpp"

namespace goldlink::control {

struct RegistryOffer {
    std::string id;             // a UUID
    std::string mark;           // a UUID
    std::string previous_mark;  // "": there was none
    std::uint64_t revision = 0;
    bool adopt = false;  // a person said so
};

// As the manager, status and people are told.
enum class RegistryMatch : std::uint8_t { own, other, older };
std::string_view to_string(RegistryMatch match);

class RegistryBinding {
  public:
    struct Known {
        std::string id;
        std::string mark;
    };

    // `target_id` is this target's own identity, which a registry remembers in its turn.
    RegistryBinding(std::filesystem::path state_folder, std::string target_id);
    const std::string& target_id() const { return target_id_; }

    // A file that cannot be understood is set aside and said: then each registry that comes is
    // `other` until a person says which it is, as long as this target has links or overlays.
    Result<> load();

    // Whether what `offer` names is this target's registry; `own` is remembered durably. A target
    // without one takes the first that comes, unless it has something to lose (`has_state`) and
    // does not know whose.
    Result<RegistryMatch> offer(const RegistryOffer& offer, std::uint64_t held_revision,
                                bool has_state);
    std::optional<Known> known() const;

  private:
    Result<> save(const Known& known);

    const std::filesystem::path path_;
    const std::string target_id_;
    mutable std::mutex mutex_;
    std::optional<Known> known_;
    bool lost_ = false;  // there was a file, and it could not be read
};

}  // namespace goldlink::control
