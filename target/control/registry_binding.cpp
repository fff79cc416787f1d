#include "target/control/registry_binding.hpp"

#include <fmt/format.h>

#include <boost/json.hpp>
#include <ctime>

#include "common/file.hpp"
#include "common/hex.hpp"
#include "common/json.hpp"
#include "common/kept_file.hpp"
#include "common/log.hpp"

namespace goldlink::control {
namespace {

constexpr std::int64_t kFormat = 1;
constexpr std::size_t kMaxFileBytes = 4096;

// A file that was set aside and has no successor: whose this target is was not said since.
bool was_set_aside(const std::filesystem::path& path) {
    const auto beginning = path.filename().string() + ".damaged-";
    std::error_code error;
    std::filesystem::directory_iterator entry(path.parent_path(), error), end;
    for (; !error && entry != end; entry.increment(error))
        if (entry->path().filename().string().starts_with(beginning)) return true;
    return false;
}

Result<RegistryBinding::Known> decode(std::string_view text) {
    RegistryBinding::Known known;
    GOLDLINK_TRY_ASSIGN(const json::object o, json::parse_object(text));
    GOLDLINK_TRY(check_format(o, kFormat));
    GOLDLINK_TRY_ASSIGN(known.id, json::string_field(o, "id", 36, 36));
    GOLDLINK_TRY_ASSIGN(known.mark, json::string_field(o, "mark", 36, 36));
    if (!is_uuid(known.id) || !is_uuid(known.mark))
        return failure(ErrorKind::corrupt, "id and mark must be UUIDs");
    return known;
}

}  // namespace

std::string_view to_string(RegistryMatch match) {
    switch (match) {
        case RegistryMatch::own:
            return "own";
        case RegistryMatch::other:
            return "other";
        case RegistryMatch::older:
            return "older";
    }
    return "other";
}

RegistryBinding::RegistryBinding(std::filesystem::path state_folder, std::string target_id)
    : path_(state_folder / "registry.json"), target_id_(std::move(target_id)) {}

Result<> RegistryBinding::load() {
    const std::lock_guard lock(mutex_);
    auto content = read_file(path_, kMaxFileBytes);
    if (!content && content.error().kind == ErrorKind::not_found) {
        lost_ = was_set_aside(path_);
        return {};
    }
    auto decoded = content ? decode(*content) : Failure(std::move(content).error());
    if (decoded) {
        known_ = std::move(*decoded);
        return {};
    }
    lost_ = true;
    const auto aside = fmt::format("{}.damaged-{}", path_.string(), std::time(nullptr));
    std::error_code error;
    std::filesystem::rename(path_, aside, error);
    log::error(
        "{} cannot be understood ({}) and is set aside as {}: which registry is this target's must "
        "be said by 'goldlink registry adopt' before links change",
        path_.string(), decoded.error().message, aside);
    return {};
}

Result<RegistryMatch> RegistryBinding::offer(const RegistryOffer& offer,
                                             std::uint64_t held_revision, bool has_state) {
    const std::lock_guard lock(mutex_);
    if (!offer.adopt) {
        if (known_ && known_->id != offer.id) return RegistryMatch::other;
        // One from before registries had an identity belongs to whoever pushed its links last,
        // as far as the revision tells.
        if (!known_ && has_state && lost_) return RegistryMatch::other;
        if (!known_ && has_state && offer.revision < held_revision) return RegistryMatch::other;
        if (known_ && known_->mark != offer.mark &&
            (offer.previous_mark.empty() || known_->mark != offer.previous_mark))
            return RegistryMatch::older;
        if (known_ && offer.revision < held_revision) return RegistryMatch::older;
    }
    const Known next{offer.id, offer.mark};
    if (!known_ || known_->id != next.id || known_->mark != next.mark) GOLDLINK_TRY(save(next));
    known_ = next;
    lost_ = false;
    return RegistryMatch::own;
}

Result<> RegistryBinding::save(const Known& known) {
    return replace_file(path_, json::serialize(json::object{
                                   {"format", kFormat}, {"id", known.id}, {"mark", known.mark}}));
}

std::optional<RegistryBinding::Known> RegistryBinding::known() const {
    const std::lock_guard lock(mutex_);
    return known_;
}

}  // namespace goldlink::control
