// goldlink link show --usage: what fills a link's overlay, by partition and file.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "manager/cli/connect.hpp"
#include "manager/cli/link_verbs.hpp"
#include "manager/cli/text.hpp"

namespace goldlink::cli {

namespace {

constexpr std::size_t kBarWidth = 20;
constexpr std::chrono::seconds kLookTimeout{120};  // the target may look for a minute

std::uint64_t bytes_of(const json::value& object, std::string_view name) {
    return static_cast<std::uint64_t>(std::max<std::int64_t>(int_of(object, name), 0));
}

// "########------------  42 %"
std::string bar(std::uint64_t part, std::uint64_t whole) {
    const double share =
        whole == 0 ? 0.0 : std::min(1.0, static_cast<double>(part) / static_cast<double>(whole));
    const auto full = static_cast<std::size_t>(share * kBarWidth + 0.5);
    return fmt::format("{}{} {:>3.0f} %", std::string(full, '#'),
                       std::string(kBarWidth - full, '-'), share * 100);
}

std::string name_of(const json::value& partition) {
    return has_value(partition, "number") ? fmt::format("partition {}", int_of(partition, "number"))
                                          : std::string("whole disk");
}

// "NTFS of 200.0 GiB"
std::string kind_of(const json::value& partition) {
    return fmt::format("{} of {}", text_of(partition, "file_system", "not known"),
                       format_bytes(bytes_of(partition, "length_bytes")));
}

Table partition_table(const json::value& usage) {
    const auto used = bytes_of(usage, "used_bytes");
    Table table({"WHERE", "WHAT", "WRITTEN", "OF THE OVERLAY"});
    const auto row = [&](std::string where, std::string what, std::uint64_t bytes) {
        table.add({std::move(where), std::move(what), format_bytes(bytes), bar(bytes, used)});
    };
    for (const auto& partition : items_of(usage, "partitions"))
        row(name_of(partition), kind_of(partition), bytes_of(partition, "written_bytes"));
    if (const auto outside = bytes_of(usage, "outside_bytes"); outside > 0)
        row("outside", "of partitions", outside);
    return table;
}

Table file_table(const json::value& partition) {
    const auto written = bytes_of(partition, "written_bytes");
    Table table({"WRITTEN", "OF THE PARTITION", "SIZE", "WHAT"});
    const auto row = [&](std::uint64_t bytes, std::string size, std::string what) {
        if (bytes > 0)
            table.add({format_bytes(bytes), bar(bytes, written), std::move(size), std::move(what)});
    };
    std::uint64_t listed = 0;
    const auto& files = items_of(partition, "files");
    for (const auto& file : files) {
        const auto bytes = bytes_of(file, "written_bytes");
        listed += bytes;
        row(bytes, format_bytes(bytes_of(file, "size_bytes")), text_of(file, "path"));
    }
    row(bytes_of(partition, "file_bytes") - std::min(listed, bytes_of(partition, "file_bytes")), "",
        fmt::format("in {} more files",
                    bytes_of(partition, "file_count") -
                        std::min(bytes_of(partition, "file_count"), std::uint64_t{files.size()})));
    row(bytes_of(partition, "metadata_bytes"), "",
        "of the file system itself: tables, journal, folders");
    row(bytes_of(partition, "free_bytes"), "", "free again: of deleted or replaced files");
    row(bytes_of(partition, "other_bytes"), "", "not told");
    return table;
}

std::string usage_text(const json::value& usage) {
    const auto owner = text_of(usage, "client", "lease");
    std::string text = printable(fmt::format(
        "{}, LUN {}, {}, {}: {} written", owner, int_of(usage, "lun"), text_of(usage, "image"),
        text_of(usage, "policy"), format_bytes(bytes_of(usage, "used_bytes"))));
    text += "\n";
    text += partition_table(usage).to_string();
    for (const auto& partition : items_of(usage, "partitions")) {
        if (bytes_of(partition, "written_bytes") == 0) continue;
        text += fmt::format("\n{}, {}\n", name_of(partition), printable(kind_of(partition)));
        if (const auto problem = text_of(partition, "problem"); !problem.empty())
            text += fmt::format("{}\n", printable(problem));
        const auto* readable = member(partition, "readable");
        if (readable != nullptr && *readable == true) text += file_table(partition).to_string();
    }
    return text;
}

}  // namespace

Result<> show_link_usage(const Session& session, const std::string& id,
                         std::optional<std::int64_t> lun, std::optional<std::int64_t> files) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    const auto text = [](std::optional<std::int64_t> number) {
        return number ? std::to_string(*number) : std::string();
    };
    GOLDLINK_TRY_ASSIGN(const auto usage,
                        api.get("/links/" + http::percent_encode(id) + "/usage" +
                                    query({{"lun", text(lun)}, {"files", text(files)}}),
                                kLookTimeout));
    if (session.json) {
        print_json(usage);
        return {};
    }
    print(usage_text(usage));
    if (const auto* complete = member(usage, "complete"); complete != nullptr && *complete == false)
        print_note(fmt::format("not everything was looked at: {}\n",
                               printable(text_of(usage, "why", "not said"))));
    if (const auto* live = member(usage, "live"); live != nullptr && *live == true)
        print_note(
            "its client is running: what it has not written to its disk yet is not counted, and "
            "new files\nmay still count as not told or free\n");
    return {};
}

}  // namespace goldlink::cli
