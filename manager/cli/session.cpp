#include "manager/cli/session.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

#include "common/log.hpp"
#include "common/mac.hpp"
#include "manager/cli/text.hpp"

namespace goldlink::cli {

namespace {

constexpr const char* kDefaultUrl = "http://127.0.0.1:8080";

constexpr const char* kOverview =
    "Boots rooms of PCs from one golden image.\n\n"
    "First steps, on the server:\n"
    "  goldlink up --pxe proxy --interface eth0      start everything; stays in the foreground\n"
    "  goldlink image import win11 win11.vhdx        give it a disk image\n"
    "  goldlink client add PC-001 --mac 52:54:00:00:00:01\n"
    "  goldlink link create --client PC-001 --image win11\n"
    "Then switch PC-001 on with network boot, and watch: goldlink client show PC-001\n";

constexpr const char* kEnvironment =
    "Environment:\n"
    "  GOLDLINK_URL    where the manager is (default http://127.0.0.1:8080)\n"
    "  GOLDLINK_TOKEN  the API token; else --token-file, else admin.token in $GOLDLINK_STATE_DIR, "
    "$STATE\n"
    "                  or /var/lib/goldlink, for a server of this machine\n"
    "Exit code: 0 done, 1 refused or failed (why is on stderr), 2 wrong usage.\n"
    "'goldlink NOUN VERB --help' shows examples.";

void print_error(const Error& error) {
    std::fputs(fmt::format("goldlink: {}\n", error.message).c_str(), stderr);
}

// CLI11's own text for a parse error, with a pointer to the help of the verb it happened in.
int usage_error(const CLI::App& root, const CLI::ParseError& error) {
    std::string where = "goldlink";
    for (const CLI::App* app = &root; app != nullptr;) {
        const auto chosen = app->get_subcommands();
        app = chosen.empty() ? nullptr : chosen.front();
        if (app != nullptr) where += " " + app->get_name();
    }
    std::fputs(fmt::format("goldlink: {}\n  see '{} --help'\n", error.what(), where).c_str(),
               stderr);
    return kExitUsage;
}

}  // namespace

CLI::App* add_noun(CLI::App& root, const std::string& name, const std::string& summary) {
    CLI::App* noun = root.add_subcommand(name, summary);
    noun->require_subcommand(1);
    return noun;
}

CLI::App* add_verb(CLI::App& noun, Session& session, const VerbText& text,
                   std::function<Result<>()> action) {
    CLI::App* verb = noun.add_subcommand(text.name, text.summary);
    if (!text.more.empty() || !text.examples.empty()) {
        std::string footer = text.more.empty() ? "" : text.more + "\n";
        if (!text.examples.empty()) {
            footer += footer.empty() ? "Examples:" : "\nExamples:";
            std::string_view rest = text.examples;
            while (!rest.empty()) {
                const auto end = rest.find('\n');
                footer += "\n  " + std::string(rest.substr(0, end));
                rest = end == std::string_view::npos ? "" : rest.substr(end + 1);
            }
        }
        verb->footer(footer);
    }
    verb->add_flag("--json", session.json, "Print the result as JSON");
    verb->callback([&session, action = std::move(action)] { session.action = action; });
    return verb;
}

std::string check_image_ref(const std::string& text) {
    const auto ref = parse_image_ref(text);
    return ref ? "" : ref.error().message;
}

std::string check_mac(const std::string& text) {
    const auto mac = Mac::parse(text);
    return mac ? "" : mac.error().message;
}

std::string check_lease(const std::string& text) {
    const auto lease = parse_lease(text);
    return lease ? "" : lease.error().message;
}

void print(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }
void print_note(std::string_view text) {
    std::fflush(stdout);  // so that a note stands where it belongs
    std::fwrite(text.data(), 1, text.size(), stderr);
}

int run(int argc, const char* const* argv) {
    init_log("goldlink");
    Session session;
    session.url = kDefaultUrl;

    CLI::App root(kOverview, "goldlink");
    root.require_subcommand(1);
    root.fallthrough();  // global options may follow the verb
    root.set_version_flag("--version", "goldlink " GOLDLINK_VERSION);
    root.add_option("--url", session.url, "Where the manager is")
        ->envname("GOLDLINK_URL")
        ->type_name("URL");
    root.add_option("--token-file", session.token_file, "File with the API token")
        ->type_name("FILE");
    root.footer(kEnvironment);
    root.get_formatter()->column_width(28);

    add_up_verb(root, session);
    add_status_verbs(root, session);
    add_store_verbs(root, session);
    add_image_verbs(root, session);
    add_client_verbs(root, session);
    add_group_verbs(root, session);
    add_link_verbs(root, session);
    add_task_verbs(root, session);
    add_event_verbs(root, session);
    add_gc_verb(root, session);
    add_trash_verbs(root, session);
    add_registry_verbs(root, session);
    add_token_verbs(root, session);

    if (argc <= 1) {
        print_note(root.help());
        return kExitUsage;
    }
    try {
        root.parse(argc, argv);
    } catch (const CLI::Success& help) {  // --help, --version
        return root.exit(help) == 0 ? kExitDone : kExitUsage;
    } catch (const CLI::ParseError& error) {
        return usage_error(root, error);
    }
    while (!session.url.empty() && session.url.back() == '/') session.url.pop_back();

    if (const auto done = session.action(); !done) {
        std::fflush(stdout);
        print_error(done.error());
        return kExitFailed;
    }
    if (std::fflush(stdout) != 0) {
        print_error(system_failure("cannot write the result").value());
        return kExitFailed;
    }
    return kExitDone;
}

}  // namespace goldlink::cli
