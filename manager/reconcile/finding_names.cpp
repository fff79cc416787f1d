#include "manager/reconcile/finding_names.hpp"

#include <fmt/format.h>

#include <map>
#include <set>

#include "manager/db/images.hpp"

namespace goldlink::manager {
namespace {

// The versions and links of a digest, asked for once.
class Names {
  public:
    struct Of {
        std::vector<db::Version> versions;
        std::vector<std::string> links;
    };
    explicit Names(db::Connection& c) : c_(c) {}

    Result<const Of*> of(const std::string& digest) {
        const auto known = known_.find(digest);
        if (known != known_.end()) return &known->second;
        Of names;
        GOLDLINK_TRY_ASSIGN(names.versions, db::versions_of_digest(c_, digest));
        GOLDLINK_TRY_ASSIGN(names.links, db::links_of_digest(c_, digest));
        return &(known_[digest] = std::move(names));
    }

  private:
    db::Connection& c_;
    std::map<std::string, Of> known_;
};

}  // namespace

Result<json::array> name_findings(db::Connection& c, const json::array& findings) {
    Names names(c);
    json::array named;
    for (const json::value& item : findings) {
        const json::value* uses = item.is_object() ? item.as_object().if_contains("uses") : nullptr;
        if (uses == nullptr || !uses->is_array()) {
            named.push_back(item);
            continue;
        }
        json::object finding = item.as_object();
        json::array named_uses;
        std::set<std::string> links;
        for (const json::value& use : uses->as_array()) {
            if (!use.is_object()) continue;
            const auto digest = json::string_field(use.as_object(), "version", 64, 64);
            if (!digest) continue;
            GOLDLINK_TRY_ASSIGN(const auto* of, names.of(*digest));
            links.insert(of->links.begin(), of->links.end());
            for (const db::Version& version : of->versions) {
                json::object shown = use.as_object();
                shown["image"] = version.image;
                shown["number"] = version.number;
                named_uses.push_back(std::move(shown));
            }
            if (of->versions.empty()) named_uses.push_back(use);
        }
        finding["uses"] = std::move(named_uses);
        finding["links"] = json::array(links.begin(), links.end());
        named.push_back(std::move(finding));
    }
    return named;
}

Result<json::object> name_version(db::Connection& c, json::object data) {
    const auto digest = json::string_field(data, "version", 64, 64);
    if (!digest) return data;
    GOLDLINK_TRY_ASSIGN(const auto versions, db::versions_of_digest(c, *digest));
    json::array images;
    for (const db::Version& version : versions)
        images.emplace_back(fmt::format("{}@{}", version.image, version.number));
    data["images"] = std::move(images);
    return data;
}

}  // namespace goldlink::manager
