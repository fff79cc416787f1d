// POST /clients/import: many clients from CSV in one transaction, all or none. dry_run does the
// same work and then takes it back, so that it finds what the real run would.
#include <fmt/format.h>

#include <algorithm>

#include "common/mac.hpp"
#include "manager/api/client_changes.hpp"
#include "manager/api/input.hpp"
#include "manager/csv.hpp"
#include "manager/db/history.hpp"

namespace goldlink::manager::api {
namespace {

struct Columns {
    std::size_t name = 0, mac = 0;
    std::optional<std::size_t> group;
};

std::string trimmed(std::string text) {
    const std::size_t first = text.find_first_not_of(" \t");
    if (first == std::string::npos) return "";
    return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

Maybe<Columns> columns_of(const CsvRow& header) {
    Columns columns;
    bool has_name = false, has_mac = false;
    for (std::size_t i = 0; i < header.fields.size(); ++i) {
        std::string title = trimmed(header.fields[i]);
        std::transform(title.begin(), title.end(), title.begin(),
                       [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
        if (title == "name") {
            columns.name = i;
            has_name = true;
        } else if (title == "mac") {
            columns.mac = i;
            has_mac = true;
        } else if (title == "group") {
            columns.group = i;
        } else {
            return refuse(
                400, "invalid", "The request is not valid",
                fmt::format("the column \"{}\" is not known; the first line is name,mac,group",
                            title.substr(0, 40)));
        }
    }
    if (!has_name || !has_mac)
        return refuse(400, "invalid", "The request is not valid",
                      "the first line must name the columns: name,mac,group");
    return columns;
}

Maybe<NewClient> client_of(const CsvRow& row, const Columns& columns) {
    const auto field = [&](std::size_t index) {
        return index < row.fields.size() ? trimmed(row.fields[index]) : std::string();
    };
    NewClient client;
    client.name = field(columns.name);
    if (!is_name(client.name))
        return refuse_field("name",
                            fmt::format("\"{}\" is no client name", client.name.substr(0, 64)));
    // Several MACs of one machine stand in the field with blanks between them.
    const std::string macs = field(columns.mac);
    for (std::size_t at = 0; at < macs.size();) {
        const std::size_t end = std::min(macs.find(' ', at), macs.size());
        if (end > at) {
            const auto mac = Mac::parse(macs.substr(at, end - at));
            if (!mac) return refuse_field("mac", mac.error().message);
            client.macs.push_back(mac->to_string());
        }
        at = end + 1;
    }
    if (client.macs.empty() || client.macs.size() > 8)
        return refuse_field("mac", "a client has one to eight MAC addresses");
    if (columns.group) {
        const std::string group = field(*columns.group);
        if (!group.empty()) client.group = group;
    }
    return client;
}

Answer import(Call& call) {
    GOLDLINK_TRY_CALL(const bool dry_run, bool_query(call, "dry_run"));
    GOLDLINK_TRY_ASSIGN(const auto rows, parse_csv(call.request.body));
    if (rows.empty())
        return refuse(400, "invalid", "The request is not valid",
                      "the body is empty; the first line is name,mac,group");
    GOLDLINK_TRY_CALL(const Columns columns, columns_of(rows[0]));

    return call.services.pool.transact([&](db::Connection& c) -> Answer {
        json::array added, errors;
        GOLDLINK_TRY(c.query("SAVEPOINT before_import"));
        for (std::size_t i = 1; i < rows.size() && errors.size() < 100; ++i) {
            const auto client = client_of(rows[i], columns);
            Maybe<std::string> id =
                client ? add_client(c, *client) : Maybe<std::string>(Refused(client.error()));
            if (id) {
                added.push_back(json::value(client->name));
                continue;
            }
            // A race that PostgreSQL itself saw has ended the transaction: nothing more can be
            // asked in it.
            if (id.error().status >= 500 || id.error().type == "conflict")
                return Refused(std::move(id).error());
            errors.push_back(json::object{{"line", rows[i].line}, {"message", id.error().detail}});
        }
        if (dry_run || !errors.empty())
            GOLDLINK_TRY(c.query("ROLLBACK TO SAVEPOINT before_import"));
        if (!errors.empty()) added.clear();
        if (!dry_run && errors.empty())
            for (const json::value& name : added)
                GOLDLINK_TRY(db::add_event(
                    c, {{}, "client_added", std::string(name.as_string()), {}, {}, "{}"}));
        return json_response(200, json::object{{"added", std::move(added)},
                                               {"errors", std::move(errors)},
                                               {"dry_run", dry_run}});
    });
}

}  // namespace

void add_client_import_routes(Table& table) {
    table.push_back({"POST", "/clients/import", kWrite, {"dry_run"}, import});
}

}  // namespace goldlink::manager::api
