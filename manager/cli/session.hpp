// What one run of `goldlink` knows: the global options, the verb that was chosen, where results and
// errors go. Verbs register themselves with add_verb() and run after the whole command line is
// parsed, so that a usage error (exit 2) never comes after half an action. One thread.
#pragma once

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <functional>
#include <string>
#include <string_view>

#include "common/result.hpp"

namespace goldlink::cli {

inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;

struct Session {
    std::string url;         // --url, GOLDLINK_URL, or the default
    std::string token_file;  // --token-file
    bool json = false;
    std::function<Result<>()> action;  // the chosen verb
};

// What the admin is told of a verb: one line in the list, the rest under --help.
struct VerbText {
    std::string name;
    std::string summary;
    std::string more;      // may be empty: what it does beyond the summary
    std::string examples;  // one command a line
};

// A noun ("image"): groups verbs, and shows its help when none is given.
CLI::App* add_noun(CLI::App& root, const std::string& name, const std::string& summary);

// Adds a verb with --json. The returned App takes the verb's own options.
CLI::App* add_verb(CLI::App& noun, Session& session, const VerbText& text,
                   std::function<Result<>()> action);

// Validators that turn a bad argument into a usage error.
std::string check_image_ref(const std::string& text);
std::string check_mac(const std::string& text);
std::string check_lease(const std::string& text);

void print(std::string_view text);       // to stdout
void print_note(std::string_view text);  // to stderr: for people, never part of the result

// Each file of nouns adds its own.
void add_image_verbs(CLI::App& root, Session& session);
void add_client_verbs(CLI::App& root, Session& session);
void add_group_verbs(CLI::App& root, Session& session);
void add_link_verbs(CLI::App& root, Session& session);
void add_task_verbs(CLI::App& root, Session& session);
void add_token_verbs(CLI::App& root, Session& session);
void add_status_verbs(CLI::App& root, Session& session);
void add_store_verbs(CLI::App& root, Session& session);
void add_event_verbs(CLI::App& root, Session& session);
void add_gc_verb(CLI::App& root, Session& session);
void add_trash_verbs(CLI::App& root, Session& session);
void add_registry_verbs(CLI::App& root, Session& session);
void add_up_verb(CLI::App& root, Session& session);

// The program: parses, runs, prints the error, gives the exit code.
int run(int argc, const char* const* argv);

}  // namespace goldlink::cli
