#include "common/kept_file.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>

#include "common/clean_text.hpp"
#include "common/file.hpp"
#include "common/json.hpp"
#include "common/log.hpp"

namespace goldlink {
namespace {

constexpr int kMostAside = 1000;  // of one name in one second

// A name beside the file that nothing has yet.
std::filesystem::path aside_name(const std::filesystem::path& path) {
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    ::gmtime_r(&now, &parts);
    const auto base = fmt::format("{}.damaged-{:%Y%m%dT%H%M%SZ}", path.string(), parts);
    std::filesystem::path name = base;
    std::error_code error;
    for (int n = 2; n < kMostAside && std::filesystem::exists(name, error); ++n)
        name = fmt::format("{}-{}", base, n);
    return name;
}

}  // namespace

void set_aside(const std::filesystem::path& path, const std::string& why,
               const std::string& without, Problems& problems) {
    const auto aside = aside_name(path);
    std::error_code error;
    std::filesystem::rename(path, aside, error);
    Problem problem{"state", fmt::format("{} cannot be used: {}; {}", path.string(), why, without),
                    fmt::format("it is kept as {}; to have it back, stop this server, mend the "
                                "file, give it its old name and start again; else remove it",
                                aside.string())};
    if (error)
        problem.advice = fmt::format(
            "it cannot be renamed to {} either ({}), and will be written over: copy it now if it "
            "is needed, and look at the file system that it lies on",
            aside.string(), error.message());
    log::error("{}. {}", problem.message, problem.advice);
    problems.add(std::move(problem));
}

bool load_or_set_aside(const KeptFile& file,
                       const std::function<Result<>(const std::string&)>& parse,
                       Problems& problems) {
    const auto content = read_file(file.path, file.max_bytes);
    if (!content && content.error().kind == ErrorKind::not_found) return false;
    const auto parsed = content ? parse(as_utf8(*content)) : Result<>(Failure(content.error()));
    if (parsed) return true;
    set_aside(file.path, content && content->empty() ? "it is empty" : parsed.error().message,
              file.without, problems);
    return false;
}

bool folder_or_set_aside(const std::filesystem::path& folder, const std::string& without,
                         Problems& problems) {
    std::error_code error;
    const auto found = std::filesystem::status(folder, error);
    if (std::filesystem::exists(found) && !std::filesystem::is_directory(found))
        set_aside(folder, "it is no folder", without, problems);
    const auto made = make_directories(folder);
    if (made) return true;
    log::error("{}; {}", made.error().message, without);
    problems.add({"state", fmt::format("{}; {}", made.error().message, without),
                  "make room on its file system, or mend it, and start this server again"});
    return false;
}

Result<> check_format(const json::object& o, std::int64_t known) {
    GOLDLINK_TRY_ASSIGN(const auto format, json::int_field(o, "format", 0, INT64_MAX));
    if (format > known)
        return failure(ErrorKind::corrupt,
                       fmt::format("its format {} is newer than this program knows ({}); start "
                                   "the newer program that wrote it",
                                   format, known));
    if (format != known)
        return failure(ErrorKind::corrupt,
                       fmt::format("its format {} is none that this program knows", format));
    return {};
}

}  // namespace goldlink
