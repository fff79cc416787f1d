#include "common/problems.hpp"

#include <algorithm>
#include <boost/json.hpp>

namespace goldlink {

void Problems::add(Problem problem) {
    const std::lock_guard lock(mutex_);
    const bool known = std::find(staying_.begin(), staying_.end(), problem) != staying_.end();
    if (!known && staying_.size() < kMost) staying_.push_back(std::move(problem));
}

void Problems::add_source(Source source) {
    const std::lock_guard lock(mutex_);
    sources_.push_back(std::move(source));
}

std::vector<Problem> Problems::list() const {
    std::vector<Problem> all;
    std::vector<Source> sources;
    {
        const std::lock_guard lock(mutex_);
        all = staying_;
        sources = sources_;
    }
    for (const Source& source : sources)
        for (Problem& problem : source()) all.push_back(std::move(problem));
    return all;
}

boost::json::array problems_json(const std::vector<Problem>& problems) {
    boost::json::array list;
    for (const Problem& problem : problems)
        list.push_back(boost::json::object{
            {"area", problem.area}, {"message", problem.message}, {"advice", problem.advice}});
    return list;
}

}  // namespace goldlink
