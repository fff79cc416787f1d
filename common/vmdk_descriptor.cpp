#include "common/vmdk_descriptor.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <optional>

#include "common/manifest.hpp"

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

std::optional<std::uint64_t> number(std::string_view text) {
    std::uint64_t value = 0;
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (text.empty() || stop != end || error != std::errc()) return std::nullopt;
    return value;
}

bool begins_an_extent(std::string_view line) {
    const std::string_view access = take_word(line);
    return access == "RW" || access == "RDONLY" || access == "NOACCESS";
}

bool is_plain_name(const std::string& file) {
    return !file.empty() && file.size() <= 255 && file.front() != '.' &&
           file.find_first_of("/\\:") == std::string::npos;
}

// What stands behind the type: "disk-flat.vmdk" 0, "disk-s001.vmdk", or nothing of ZERO.
bool parse_file(std::string_view text, VmdkExtent& extent) {
    text = trimmed(text);
    if (extent.type == "ZERO") return text.empty();
    const std::size_t end = text.find('"', 1);
    if (!text.starts_with('"') || end == std::string_view::npos) return false;
    extent.file = text.substr(1, end - 1);
    const std::string_view offset = trimmed(text.substr(end + 1));
    if (offset.empty()) return extent.type != "FLAT";
    const auto sectors = number(offset);
    if (!sectors || (extent.type != "FLAT" && *sectors != 0)) return false;
    extent.offset_sectors = *sectors;
    return true;
}

// RW 4192256 SPARSE "disk-s001.vmdk", RDONLY 2048 FLAT "disk-flat.vmdk" 0, NOACCESS 2048 ZERO
Result<VmdkExtent> parse_extent(std::string_view line, const std::string& name) {
    const std::string shown(line.substr(0, 100));
    const std::string_view access = take_word(line);
    const auto sectors = number(take_word(line));
    VmdkExtent extent;
    extent.type = take_word(line);
    const auto malformed = [&] {
        return failure(ErrorKind::invalid,
                       fmt::format("{} has an extent that cannot be read: {}", name, shown));
    };
    if (!sectors || *sectors == 0 || extent.type.empty()) return malformed();
    constexpr std::string_view kTypes[] = {"FLAT",       "VMFS",     "SPARSE",
                                           "VMFSSPARSE", "SESPARSE", "ZERO"};
    if (std::find(std::begin(kTypes), std::end(kTypes), extent.type) == std::end(kTypes))
        return failure(
            ErrorKind::invalid,
            fmt::format("{} has an extent of a type that an import cannot read (a device, or data "
                        "of another program): {}. Import the disk itself, with --delta from the "
                        "machine that has it",
                        name, shown));
    if (!parse_file(line, extent)) return malformed();
    extent.sectors = *sectors;
    if (extent.type == "ZERO") return extent;
    if (access == "NOACCESS")
        return failure(ErrorKind::invalid,
                       fmt::format("{} says that a part of its data must not be read: {}. Make one "
                                   "whole file of it with the program that made it",
                                   name, shown));
    if (!is_plain_name(extent.file))
        return failure(
            ErrorKind::invalid,
            fmt::format("{} keeps data in \"{}\", which is no plain file name: an import opens "
                        "only files beside it. Make one file of it first: qemu-img convert -O "
                        "vmdk <file> <new file>",
                        name, extent.file.substr(0, 100)));
    return extent;
}

Result<> check_extents(const std::vector<VmdkExtent>& extents, const std::string& name) {
    constexpr std::uint64_t kMostSectors = kMaxDiskBytes / 512;
    std::uint64_t sum = 0;
    bool data = false;
    for (const VmdkExtent& extent : extents) {
        if (extent.sectors > kMostSectors - sum || extent.offset_sectors > kMostSectors)
            return failure(ErrorKind::invalid,
                           fmt::format("{} describes a disk of more than {} bytes, the most a disk "
                                       "may have",
                                       name, kMaxDiskBytes));
        sum += extent.sectors;
        data = data || !extent.file.empty();
    }
    if (data) return {};
    return failure(ErrorKind::invalid,
                   fmt::format("{} is a VMDK descriptor that names no file with data", name));
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
            extents.push_back(std::move(extent));
            if (extents.size() > kMaxVmdkExtents)
                return failure(ErrorKind::invalid,
                               fmt::format("{} has more than {} extents", name, kMaxVmdkExtents));
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
    GOLDLINK_TRY(check_extents(extents, name));
    return extents;
}

}  // namespace goldlink
