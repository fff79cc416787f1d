#include "manager/registry_problem.hpp"

namespace goldlink::manager {

std::string registry_mismatch(std::string_view match) {
    if (match == "other")
        return "this database is not the registry that the target belongs to: it is new, or "
               "another server's";
    if (match == "older")
        return "this database is an earlier state of the target's registry: a backup, or a "
               "replica that was behind";
    if (match == "elsewhere")
        return "the disks of this database are on another target, or this target has lost its "
               "state folder";
    return "";
}

std::string_view registry_advice() {
    return "give back the right database (--database-url, the postgres/ folder, a newer backup), "
           "or see what adopting this one would do: goldlink registry show";
}

std::string registry_problem(std::string_view match) {
    std::string what = registry_mismatch(match);
    if (what.empty()) return "";
    return what
        .append(
            ". PCs go on with the links that the target has, and nothing is deleted or "
            "changed there. To do: ")
        .append(registry_advice());
}

}  // namespace goldlink::manager
