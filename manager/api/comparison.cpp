#include "manager/api/comparison.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace goldlink::manager::api {

namespace {
constexpr std::size_t kMaxRanges = 100;
constexpr std::size_t kMaxPartitions = 300;  // of the tables of both versions
constexpr std::size_t kRangesInWords = 5;
}  // namespace

Maybe<json::object> parse_comparison(const std::string& answer) {
    const auto parse = [&]() -> Result<json::object> {
        GOLDLINK_TRY_ASSIGN(const json::object said, json::parse_object(answer));
        json::object shown;
        for (const std::string_view name :
             {"mine_bytes", "theirs_bytes", "both_bytes", "range_count"}) {
            GOLDLINK_TRY_ASSIGN(shown[name], json::int_field(said, name, 0, INT64_MAX));
        }
        GOLDLINK_TRY_ASSIGN(shown["exact"], json::bool_field(said, "exact"));
        GOLDLINK_TRY_ASSIGN(const json::array ranges,
                            json::array_field(said, "ranges", kMaxRanges));
        json::array kept;
        for (const json::value& range : ranges) {
            if (!range.is_object()) return failure(ErrorKind::invalid, "a range is no object");
            json::object one;
            for (const std::string_view name : {"offset_bytes", "length_bytes"}) {
                GOLDLINK_TRY_ASSIGN(one[name],
                                    json::int_field(range.as_object(), name, 0, INT64_MAX));
            }
            kept.push_back(std::move(one));
        }
        shown["ranges"] = std::move(kept);
        json::array partitions;
        if (said.contains("partitions")) {  // a target of before has not
            GOLDLINK_TRY_ASSIGN(partitions, json::array_field(said, "partitions", kMaxPartitions));
        }
        json::array shared;
        for (const json::value& item : partitions) {
            if (!item.is_object()) return failure(ErrorKind::invalid, "a partition is no object");
            const json::object& partition = item.as_object();
            json::object one{{"number", nullptr}};
            GOLDLINK_TRY_ASSIGN(const auto number,
                                json::optional_int(partition, "number", 1, 1024));
            if (number) one["number"] = *number;
            for (const std::string_view name :
                 {"offset_bytes", "length_bytes", "mine_bytes", "theirs_bytes"}) {
                GOLDLINK_TRY_ASSIGN(one[name], json::int_field(partition, name, 0, INT64_MAX));
            }
            shared.push_back(std::move(one));
        }
        shown["partitions"] = std::move(shared);
        return shown;
    };
    auto shown = parse();
    if (!shown)
        return refuse(502, "target-failed", "The target's comparison cannot be read",
                      shown.error().message);
    return std::move(*shown);
}

std::string partitions_in_words(const json::object& overlap) {
    std::vector<std::string> names;
    for (const json::value& partition : overlap.at("partitions").as_array()) {
        const auto* const number = partition.as_object().at("number").if_int64();
        names.push_back(number != nullptr ? fmt::format("partition {}", *number)
                                          : "what is outside of partitions");
    }
    return fmt::format("{}", fmt::join(names, ", "));
}

std::string overlap_in_words(const json::object& overlap, const std::string& version) {
    const auto number = [&](std::string_view name) { return overlap.at(name).as_int64(); };
    if (number("both_bytes") == 0)
        return fmt::format("no block was changed by both this disk ({} bytes) and {}",
                           number("mine_bytes"), version);
    const bool exact = overlap.at("exact").as_bool();
    const json::array& ranges = overlap.at("ranges").as_array();
    std::string where;
    for (std::size_t i = 0; i < std::min(ranges.size(), kRangesInWords); ++i) {
        const json::object& range = ranges[i].as_object();
        where +=
            fmt::format("{}{} at byte {}", i == 0 ? "" : ", ", range.at("length_bytes").as_int64(),
                        range.at("offset_bytes").as_int64());
    }
    const auto places = number("range_count");
    if (static_cast<std::size_t>(places) > kRangesInWords) where += ", and more";
    return fmt::format("both this disk ({} bytes) and {} changed {}{} bytes in {} place{} ({})",
                       number("mine_bytes"), version, exact ? "" : "at most ", number("both_bytes"),
                       places, places == 1 ? "" : "s", where);
}

}  // namespace goldlink::manager::api
