#include "target/store/archive.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "target/store/converter_child.hpp"

namespace goldlink::store {

namespace {

constexpr std::size_t kMostShown = 5;

std::string lower(std::string_view text) {
    std::string out(text);
    for (char& c : out)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    return out;
}

std::string_view last_part(std::string_view member) { return member.substr(member.rfind('/') + 1); }

bool is_named_as_a_disk(std::string_view member) {
    std::string name = lower(last_part(member));
    for (const std::string_view packed : {".gz", ".bz2", ".xz", ".zst"})
        if (name.ends_with(packed)) name.resize(name.size() - packed.size());
    for (const std::string_view ending :
         {".raw", ".img", ".dd", ".iso", ".vhd", ".vhdx", ".vmdk", ".qcow2", ".vdi"})
        if (name.ends_with(ending)) return true;
    return false;
}

// What macOS puts beside each file of a zip, and folders.
bool is_no_file(std::string_view member) {
    return member.empty() || member.ends_with('/') || last_part(member).starts_with("._");
}

std::string listed(const std::vector<std::string>& members) {
    std::string text;
    for (std::size_t i = 0; i < std::min(members.size(), kMostShown); ++i)
        text += (i == 0 ? "" : ", ") + members[i].substr(0, 100);
    return members.size() > kMostShown ? text + ", ..." : text;
}

}  // namespace

std::vector<std::string> archive_program(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"bsdtar", "--passphrase", "none"});
    return arguments;
}

std::string archive_pattern(std::string_view member) {
    std::string pattern;
    for (const char c : member) {
        if (std::string_view("*?[]\\").find(c) != std::string_view::npos) pattern.push_back('\\');
        pattern.push_back(c);
    }
    return pattern;
}

Result<std::string> choose_disk(const std::vector<std::string>& members, const std::string& name) {
    std::vector<std::string> files, disks;
    for (const std::string& member : members) {
        if (is_no_file(member)) continue;
        files.push_back(member);
        if (is_named_as_a_disk(member)) disks.push_back(member);
    }
    if (disks.size() == 1) return disks.front();
    if (disks.empty() && files.size() == 1) return files.front();
    if (disks.empty())
        return failure(ErrorKind::invalid,
                       fmt::format("{} is an archive with no disk image in it ({}): unpack it, and "
                                   "import the disk",
                                   name, files.empty() ? "it is empty" : listed(files)));
    return failure(
        ErrorKind::invalid,
        fmt::format("{} is an archive of {} disk images ({}): unpack it, and import each "
                    "by itself; of a VMDK in several files the small .vmdk",
                    name, disks.size(), listed(disks)));
}

Result<std::string> find_disk_in_archive(int fd, const std::string& name,
                                         const std::string& archive, Progress& progress) {
    ConverterRun run;
    run.limits = converter_limits(0);
    run.argv = archive_program({"-tf", "-"});
    run.locale = kArchiveLocale;
    run.prepare = [fd] {
        if (::lseek(fd, 0, SEEK_SET) != 0 || ::dup2(fd, 0) < 0) ::_exit(126);
    };
    GOLDLINK_TRY_ASSIGN(const ConverterEnd ended, run_converter(run, progress));
    if (ended.status.code != 0)
        return failure(ErrorKind::invalid,
                       fmt::format("{} is damaged, cut short or no whole {} archive: {}", name,
                                   archive, ended.why("bsdtar")));
    std::vector<std::string> members;
    for (std::size_t at = 0; at < ended.output.size();) {
        const std::size_t end = std::min(ended.output.find('\n', at), ended.output.size());
        members.push_back(ended.output.substr(at, end - at));
        at = end + 1;
    }
    return choose_disk(members, name);
}

}  // namespace goldlink::store
