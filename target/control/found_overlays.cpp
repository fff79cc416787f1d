#include "target/control/found_overlays.hpp"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "common/file.hpp"
#include "common/hex.hpp"
#include "target/disk/journal_record.hpp"

namespace goldlink::control {
namespace {

template <typename Number>
bool take_number(std::string_view& text, Number& number) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end == text.data()) return false;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return true;
}

void read_name(FoundOverlay& found) {
    std::string_view text = found.name;
    std::uint16_t lun = 0;
    std::uint64_t generation = 0;
    if (!text.starts_with("lun")) return;
    text.remove_prefix(3);
    if (!take_number(text, lun) || !text.starts_with("-g")) return;
    text.remove_prefix(2);
    if (!take_number(text, generation) || !text.empty()) return;
    found.lun = lun;
    found.generation = generation;
}

void read_header(FoundOverlay& found) {
    const auto path = found.folder / "journal";
    const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!file) return;
    std::array<std::uint8_t, disk::kJournalHeaderBytes> bytes{};
    const auto size = read_at(file.get(), bytes, 0, path.string());
    if (!size || *size != bytes.size()) return;
    const auto header = disk::JournalHeader::decode(bytes.data(), path.string());
    if (!header || header->policy > static_cast<std::uint32_t>(disk::Policy::super)) return;
    found.policy = static_cast<disk::Policy>(header->policy);
    found.version = header->version_digest;
}

}  // namespace

std::vector<FoundOverlay> find_overlays(const std::filesystem::path& link_folder) {
    std::vector<FoundOverlay> all;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(link_folder, error)) {
        std::error_code unknown;
        if (!entry.is_directory(unknown)) continue;
        FoundOverlay found;
        found.name = entry.path().filename().string();
        found.folder = entry.path();
        read_name(found);
        read_header(found);
        all.push_back(std::move(found));
    }
    std::ranges::sort(all, {}, &FoundOverlay::name);
    return all;
}

std::vector<std::filesystem::path> link_folders(const std::filesystem::path& root) {
    std::vector<std::filesystem::path> folders;
    if (root.empty()) return folders;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(root, error))
        if (is_uuid(entry.path().filename().string())) folders.push_back(entry.path());
    std::ranges::sort(folders);
    return folders;
}

}  // namespace goldlink::control
