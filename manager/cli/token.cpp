// goldlink token: who may call the API.
#include <fmt/format.h>

#include <memory>

#include "manager/cli/connect.hpp"
#include "manager/cli/text.hpp"

namespace goldlink::cli {

namespace {

struct Arguments {
    std::string name;
    std::string role;
    std::string expires;
    std::string id;
};

Result<> create_token(const Session& session, const Arguments& arguments) {
    json::object body{{"name", arguments.name}, {"role", arguments.role}};
    if (!arguments.expires.empty()) {
        GOLDLINK_TRY_ASSIGN(const auto lifetime, parse_lease(arguments.expires));
        body["expires_in_seconds"] = lifetime.count();
    }
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(auto token, api.post("/tokens", body));
    if (session.json) {
        print_json(token);
        return {};
    }
    print_note("the token is shown this once; whoever holds it acts in its role:\n");
    print(text_of(token, "token") + "\n");
    return {};
}

Result<> list_tokens(const Session& session, const Arguments&) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(auto tokens, api.list("/tokens"));
    if (session.json) {
        print_json(tokens);
        return {};
    }
    Table table({"ID", "NAME", "ROLE", "CREATED", "EXPIRES", "LAST USED"});
    for (const auto& token : tokens)
        table.add(
            {text_of(token, "id"), text_of(token, "name"), text_of(token, "role"),
             format_time(text_of(token, "created_at")),
             has_value(token, "expires_at") ? format_time(text_of(token, "expires_at")) : "never",
             format_time(text_of(token, "last_used_at"))});
    print(table.to_string());
    return {};
}

Result<> remove_token(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY(api.remove("/tokens/" + http::percent_encode(arguments.id)));
    if (session.json)
        print_json({{"removed", arguments.id}});
    else
        print(fmt::format("revoked {}\n", arguments.id));
    return {};
}

Result<> show_own_token(const Session& session, const Arguments&) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    GOLDLINK_TRY_ASSIGN(auto self, api.get("/whoami"));
    if (session.json)
        print_json(self);
    else
        print(fmt::format("{}, role {}\n", printable(text_of(self, "name")),
                          printable(text_of(self, "role"))));
    return {};
}

}  // namespace

void add_token_verbs(CLI::App& root, Session& session) {
    auto& noun = *add_noun(root, "token", "Who may call the API, in which role");
    const auto arguments = std::make_shared<Arguments>();
    const auto verb = [&](VerbText text, Result<> (*action)(const Session&, const Arguments&)) {
        return add_verb(noun, session, text,
                        [&session, arguments, action] { return action(session, *arguments); });
    };
    auto* create =
        verb({"create", "Make a token; it is shown once",
              "Roles: admin all; operator all but tokens; viewer reads; ci takes leases.",
              "goldlink token create runner --role ci --expires 30d\n"
              "export GOLDLINK_TOKEN=$(goldlink token create me --role operator)"},
             create_token);
    create->add_option("NAME", arguments->name, "Whose it is, for the list")->required();
    create->add_option("--role", arguments->role, "What it may do")
        ->required()
        ->check(CLI::IsMember({"admin", "operator", "viewer", "ci"}));
    create
        ->add_option("--expires", arguments->expires, "Time to live: 12h, 30d (default: for ever)")
        ->type_name("TIME")
        ->check(check_lease);
    verb({"ls", "List tokens, without their secrets", "", "goldlink token ls"}, list_tokens);
    verb({"rm", "Revoke a token at once", "", "goldlink token rm 5b1e..."}, remove_token)
        ->add_option("ID", arguments->id, "The token's id: 'goldlink token ls'")
        ->required();
    verb({"show", "Show the token in use", "", "goldlink token show"}, show_own_token);
}

}  // namespace goldlink::cli
