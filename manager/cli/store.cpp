// goldlink store: care of the image store on the server itself, without the server.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <memory>
#include <vector>

#include "manager/cli/session.hpp"

namespace goldlink::cli {

namespace {

struct RebuildOptions {
    std::string state_dir = "/var/lib/goldlink";
    bool drop_unnamed = false, anyway = false;
};

// The target knows the store's formats, this program does not: it becomes the target.
Result<> rebuild(const RebuildOptions& options) {
    std::error_code error;
    const auto own = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
    const auto beside = own / "goldlink-target";
    const std::string program =
        std::filesystem::exists(beside, error) ? beside.string() : "goldlink-target";
    const auto state = std::filesystem::path(options.state_dir) / "target";
    std::vector<std::string> words = {program, "--state-dir", state.string(), "--rebuild-store"};
    if (options.drop_unnamed) words.emplace_back("--drop-unnamed");
    if (options.anyway) words.emplace_back("--rebuild-anyway");
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    ::execvp(program.c_str(), argv.data());
    return system_failure(fmt::format("cannot start {}", program), errno);
}

}  // namespace

void add_store_verbs(CLI::App& root, Session& session) {
    CLI::App* noun = add_noun(root, "store", "The image store's own files, on the server");
    const auto options = std::make_shared<RebuildOptions>();
    CLI::App* verb = add_verb(
        *noun, session,
        {"rebuild", "Make the store's index anew from its packs and manifests",
         "For when the index is lost, damaged or older than the store. Reads all that is stored. "
         "The old\nindex is set aside. A server that runs without its store takes it up when this "
         "is done; one that\nuses its store must be stopped first.",
         "goldlink store rebuild\ngoldlink store rebuild --state-dir ~/goldlink"},
        [options] { return rebuild(*options); });
    verb->add_option("--state-dir", options->state_dir, "The server's, as given to 'goldlink up'")
        ->envname("GOLDLINK_STATE_DIR")
        ->type_name("DIR")
        ->capture_default_str();
    verb->add_flag("--drop-unnamed", options->drop_unnamed,
                   "Give back the space of chunks that no manifest names; without it they are "
                   "kept, as their manifests may be missing");
    verb->add_flag("--anyway", options->anyway, "Also when the index that is there is in order");
}

}  // namespace goldlink::cli
