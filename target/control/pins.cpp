#include "target/control/pins.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>

#include "common/json.hpp"
#include "common/kept_file.hpp"
#include "common/log.hpp"

namespace goldlink::control {
namespace {

constexpr std::size_t kMaxFileBytes = 1 << 20;

std::string text_of(const std::vector<std::string>& digests) {
    json::array versions;
    for (const std::string& digest : digests) versions.emplace_back(digest);
    return json::serialize(json::object{{"versions", std::move(versions)}});
}

}  // namespace

Pins::Pins(std::filesystem::path file, store::ImageStore& store, const BootTraces& traces)
    : store_(store), traces_(traces), path_(std::move(file)), file_(path_, [this] {
          const std::lock_guard lock(mutex_);
          return text_of(wanted_);
      }) {}

Pins::~Pins() {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    progress_.cancel = true;
}

void Pins::load(Problems& problems) {
    const auto take = [this](const std::string& text) -> Result<> {
        GOLDLINK_TRY_ASSIGN(const json::object o, json::parse_object(text));
        GOLDLINK_TRY_ASSIGN(auto digests, parse_pins(o));
        const std::lock_guard lock(mutex_);
        wanted_ = std::move(digests);
        return {};
    };
    const bool taken = load_or_set_aside(
        {path_, kMaxFileBytes, "nothing is pinned until the manager says anew what is"}, take,
        problems);
    if (taken) read_in();
}

Result<> Pins::set(std::vector<std::string> digests) {
    bool changed = false;
    {
        const std::lock_guard lock(mutex_);
        changed = digests != wanted_;
        // A chunk that was bad and is good again was not read in.
        if (!changed && done_damage_ == store_.damage_revision()) return {};
        wanted_ = std::move(digests);
    }
    if (changed) GOLDLINK_TRY(file_.save());
    read_in();
    return {};
}

std::optional<store::PinnedVersion> Pins::info(const std::string& digest) const {
    {
        const std::lock_guard lock(mutex_);
        if (std::find(wanted_.begin(), wanted_.end(), digest) == wanted_.end()) return std::nullopt;
    }
    for (store::PinnedVersion& pinned : store_.pinned())
        if (pinned.digest == digest) return std::move(pinned);
    return store::PinnedVersion{digest, 0, 0, ""};
}

void Pins::read_in() {
    std::uint64_t revision = 0;
    const std::uint64_t damage = store_.damage_revision();
    {
        const std::lock_guard lock(mutex_);
        revision = ++revision_;
        done_damage_ = 0;
        progress_.cancel = true;  // what runs is of an earlier set
    }
    background_.post([this, revision, damage] {
        std::vector<store::PinWish> wishes;
        {
            const std::lock_guard lock(mutex_);
            if (revision != revision_ || stopping_) return;
            progress_.cancel = false;
            for (const std::string& digest : wanted_) wishes.push_back({digest, {}});
        }
        for (store::PinWish& wish : wishes) wish.first_chunks = traces_.chunks(wish.digest);
        const auto done = store_.pin(wishes, progress_);
        if (done) {
            const std::lock_guard lock(mutex_);
            if (revision == revision_) done_damage_ = damage;
        } else if (done.error().kind != ErrorKind::cancelled) {
            log::warn("versions are not pinned: {}", done.error().message);
        }
    });
}

Result<std::vector<std::string>> parse_pins(const json::object& o) {
    GOLDLINK_TRY(json::only_fields(o, {"versions"}));
    GOLDLINK_TRY_ASSIGN(const json::array items,
                        json::array_field(o, "versions", Pins::kMaxVersions));
    std::vector<std::string> digests;
    for (const json::value& item : items) {
        const bool digest =
            item.is_string() && item.get_string().size() == 64 &&
            item.get_string().find_first_not_of("0123456789abcdef") == std::string_view::npos;
        if (!digest)
            return failure(ErrorKind::invalid,
                           "'versions' must hold digests: 64 lower-case hex digits");
        if (std::find(digests.begin(), digests.end(), item.get_string()) == digests.end())
            digests.emplace_back(item.get_string());
    }
    return digests;
}

}  // namespace goldlink::control
