#include "common/vmdk_descriptor.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <optional>

namespace goldlink {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\t'; }

std::string_view trimmed(std::string_view text) {
    while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
    while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
    return text;
}

std::string_view take_word(std::string_view& text) {
    text = trimmed(text);
    const std::size_t end = std::min(text.find_first_of(" \t"), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(end);
    return word;
}

bool all_digits(std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
        return std::isdigit(static_cast<unsigned char>(c)) != 0;
    });
}

bool begins_an_extent(std::string_view line) {
    const std::string_view access = take_word(line);
    return access == "RW" || access == "RDONLY" || access == "NOACCESS";
}

// RW 4192256 SPARSE "disk-s001.vmdk", RW 2048 FLAT "disk-flat.vmdk" 0, RW 2048 ZERO
Result<std::optional<VmdkExtent>> parse_extent(std::string_view line, const std::string& name) {
    const std::string shown(line.substr(0, 100));
    take_word(line);
    const std::string_view sectors = take_word(line);
    VmdkExtent extent;
    extent.type = take_word(line);
    line = trimmed(line);
    const auto malformed = [&] {
        return failure(ErrorKind::invalid,
                       fmt::format("{} has an extent that cannot be read: {}", name, shown));
    };
    if (!all_digits(sectors) || extent.type.empty()) return malformed();
    if (extent.type == "ZERO") {
        if (!line.empty()) return malformed();
        return std::optional<VmdkExtent>();
    }
    const std::size_t end = line.find('"', 1);
    if (!line.starts_with('"') || end == std::string_view::npos) return malformed();
    extent.file = line.substr(1, end - 1);
    if (const auto offset = trimmed(line.substr(end + 1)); !offset.empty() && !all_digits(offset))
        return malformed();
    if (extent.file.empty() || extent.file.size() > 255 || extent.file.front() == '.' ||
        extent.file.find_first_of("/\\:") != std::string::npos)
        return failure(
            ErrorKind::invalid,
            fmt::format("{} keeps data in \"{}\", which is no plain file name: an import opens "
                        "only files beside it. Make one file of it first: qemu-img convert -O "
                        "vmdk <file> <new file>",
                        name, extent.file.substr(0, 100)));
    return std::optional(std::move(extent));
}

bool is_setting(std::string_view line) {
    const std::size_t equals = line.find('=');
    if (equals == std::string_view::npos) return false;
    const std::string_view key = trimmed(line.substr(0, equals));
    return !key.empty() && std::all_of(key.begin(), key.end(), [](char c) {
        return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' || c == '-';
    });
}

bool has_parent(std::string_view line) {
    const std::size_t equals = line.find('=');
    std::string key(trimmed(line.substr(0, equals)));
    std::string value(trimmed(line.substr(equals + 1)));
    for (std::string* text : {&key, &value})
        for (char& c : *text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return key == "parentcid" && value != "ffffffff";
}

}  // namespace

Result<std::vector<VmdkExtent>> parse_vmdk_descriptor(std::string_view text,
                                                      const std::string& name) {
    if (!text.starts_with(kVmdkDescriptorMagic) || text.size() > kMaxVmdkDescriptorBytes)
        return failure(ErrorKind::invalid, fmt::format("{} is no VMDK descriptor", name));
    // Padding; behind it may be what an earlier, longer text has left (qemu-img leaves it).
    text = text.substr(0, text.find('\0'));
    std::vector<VmdkExtent> extents;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find_first_of("\r\n"), text.size());
        const std::string_view line = trimmed(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
        if (line.empty() || line.front() == '#') continue;
        if (begins_an_extent(line)) {
            GOLDLINK_TRY_ASSIGN(auto extent, parse_extent(line, name));
            if (extent) extents.push_back(std::move(*extent));
            if (extents.size() > kMaxVmdkExtents)
                return failure(ErrorKind::invalid,
                               fmt::format("{} names more than {} files", name, kMaxVmdkExtents));
        } else if (!is_setting(line)) {
            return failure(ErrorKind::invalid,
                           fmt::format("{} is a damaged VMDK descriptor: a line of it is neither "
                                       "a setting nor an extent",
                                       name));
        } else if (has_parent(line)) {
            return failure(
                ErrorKind::invalid,
                fmt::format("{} is a snapshot over another VMDK. Make it whole first: qemu-img "
                            "convert -O vmdk <file> <new file>",
                            name));
        }
    }
    if (extents.empty())
        return failure(ErrorKind::invalid,
                       fmt::format("{} is a VMDK descriptor that names no file with data", name));
    return extents;
}

}  // namespace goldlink
