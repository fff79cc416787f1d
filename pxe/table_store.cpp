#include "pxe/table_store.hpp"

#include <fmt/format.h>

#include <limits>

#include "common/file.hpp"
#include "common/hex.hpp"
#include "common/json.hpp"
#include "common/kept_file.hpp"
#include "pxe/script.hpp"

namespace goldlink::pxe {

namespace {

constexpr std::size_t kMaxTableBytes = 64 << 20;

Result<TableSettings> settings_from(const json::object& o) {
    GOLDLINK_TRY(json::only_fields(
        o, {"unknown_policy", "menu_timeout_seconds", "http_base", "naming_pattern"}));
    TableSettings settings;
    GOLDLINK_TRY_ASSIGN(const auto policy, json::optional_string(o, "unknown_policy", 16));
    if (policy) {
        GOLDLINK_TRY_ASSIGN(settings.unknown_policy, parse_unknown_policy(*policy));
    }
    GOLDLINK_TRY_ASSIGN(const auto timeout, json::optional_int(o, "menu_timeout_seconds", 1, 300));
    if (timeout) settings.menu_timeout_seconds = static_cast<unsigned>(*timeout);
    GOLDLINK_TRY_ASSIGN(const auto base, json::optional_string(o, "http_base", kMaxHttpBase));
    settings.http_base = base.value_or("");
    GOLDLINK_TRY_ASSIGN(const auto pattern, json::optional_string(o, "naming_pattern", 128));
    settings.naming_pattern = pattern.value_or("");
    return settings;
}

Result<TableClient> client_from(const json::object& o) {
    GOLDLINK_TRY(json::only_fields(
        o, {"id", "name", "macs", "link_id", "boot", "install_lun", "initiator"}));
    TableClient client;
    GOLDLINK_TRY_ASSIGN(client.id, json::string_field(o, "id", 1, 64));
    GOLDLINK_TRY_ASSIGN(client.name, json::string_field(o, "name", 1, 128));
    GOLDLINK_TRY_ASSIGN(const auto macs, json::array_field(o, "macs", kMaxMacsPerClient));
    for (const json::value& item : macs) {
        const auto* text = item.if_string();
        if (text == nullptr) return failure(ErrorKind::invalid, "field 'macs' must hold strings");
        GOLDLINK_TRY_ASSIGN(const Mac mac, Mac::parse({text->data(), text->size()}));
        client.macs.push_back(mac);
    }
    GOLDLINK_TRY_ASSIGN(client.link_id, json::optional_string(o, "link_id", 64));
    if (client.link_id && !is_uuid(*client.link_id))
        return failure(ErrorKind::invalid, "field 'link_id' must be a UUID");
    GOLDLINK_TRY_ASSIGN(const auto install, json::optional_int(o, "install_lun", 0, 255));
    if (install) client.install_lun = static_cast<std::uint16_t>(*install);
    GOLDLINK_TRY_ASSIGN(const auto boot, json::optional_string(o, "boot", 16));
    if (boot) {
        GOLDLINK_TRY_ASSIGN(client.boot, parse_boot_from(*boot));
    }
    GOLDLINK_TRY_ASSIGN(const auto initiator, json::optional_string(o, "initiator", 223));
    client.initiator = initiator.value_or("");
    if (!client.initiator.empty() && !is_script_value(client.initiator))
        return failure(ErrorKind::invalid,
                       fmt::format("initiator \"{}\" has characters that iPXE cannot take",
                                   plain_text(client.initiator, 64)));
    return client;
}

}  // namespace

Result<BootTable> table_from_json(std::string_view text) {
    GOLDLINK_TRY_ASSIGN(const auto o, json::parse_object(text));
    GOLDLINK_TRY(json::only_fields(o, {"revision", "settings", "clients"}));
    GOLDLINK_TRY_ASSIGN(
        const auto revision,
        json::int_field(o, "revision", 0, std::numeric_limits<std::int64_t>::max()));
    TableSettings settings;
    if (const auto* held = o.if_contains("settings"); held != nullptr && !held->is_null()) {
        GOLDLINK_TRY_ASSIGN(const auto fields, json::object_field(o, "settings"));
        GOLDLINK_TRY_ASSIGN(settings, settings_from(fields));
    }
    GOLDLINK_TRY_ASSIGN(const auto items, json::array_field(o, "clients", kMaxClients));
    std::vector<TableClient> clients;
    clients.reserve(items.size());
    for (const json::value& item : items) {
        const auto* fields = item.if_object();
        if (fields == nullptr)
            return failure(ErrorKind::invalid, "field 'clients' must hold objects");
        auto client = client_from(*fields);
        if (!client)
            return Failure(std::move(client).error().with_context(
                fmt::format("client {} of the table", clients.size() + 1)));
        clients.push_back(std::move(*client));
    }
    return BootTable::make(static_cast<std::uint64_t>(revision), std::move(settings),
                           std::move(clients));
}

std::string table_to_json(const BootTable& table) {
    const auto text_or_null = [](const std::string& text) {
        return text.empty() ? json::value(nullptr) : json::value(text);
    };
    json::array clients;
    for (const TableClient& client : table.clients()) {
        json::array macs;
        for (const Mac& mac : client.macs) macs.emplace_back(mac.to_string());
        const json::value install =
            client.install_lun ? json::value(*client.install_lun) : json::value(nullptr);
        clients.push_back(json::object{{"id", client.id},
                                       {"name", client.name},
                                       {"macs", std::move(macs)},
                                       {"link_id", text_or_null(client.link_id.value_or(""))},
                                       {"boot", to_string(client.boot)},
                                       {"install_lun", install},
                                       {"initiator", text_or_null(client.initiator)}});
    }
    const TableSettings& settings = table.settings();
    return json::serialize(json::object{
        {"revision", table.revision()},
        {"settings", json::object{{"unknown_policy", to_string(settings.unknown_policy)},
                                  {"menu_timeout_seconds", settings.menu_timeout_seconds},
                                  {"http_base", text_or_null(settings.http_base)},
                                  {"naming_pattern", text_or_null(settings.naming_pattern)}}},
        {"clients", std::move(clients)}});
}

std::unique_ptr<TableStore> TableStore::open(std::filesystem::path file, Problems& problems) {
    std::unique_ptr<TableStore> store(new TableStore(std::move(file)));
    load_or_set_aside(
        {store->file_, kMaxTableBytes,
         "every machine is unknown until the manager pushes the boot table again"},
        [&store](const std::string& text) -> Result<> {
            GOLDLINK_TRY_ASSIGN(BootTable table, table_from_json(text));
            store->table_ = std::make_shared<const BootTable>(std::move(table));
            return {};
        },
        problems);
    return store;
}

std::shared_ptr<const BootTable> TableStore::table() const {
    const std::lock_guard lock(mutex_);
    return table_;
}

Result<std::shared_ptr<const BootTable>> TableStore::put(std::string_view text) {
    GOLDLINK_TRY_ASSIGN(BootTable parsed, table_from_json(text));
    auto fresh = std::make_shared<const BootTable>(std::move(parsed));
    const std::lock_guard one_at_a_time(put_mutex_);
    const auto held = table();
    if (fresh->revision() < held->revision())
        return failure(ErrorKind::conflict,
                       fmt::format("revision {} is older than {}, which is held", fresh->revision(),
                                   held->revision()));
    GOLDLINK_TRY(replace_file(file_, table_to_json(*fresh), 0600));
    const std::lock_guard lock(mutex_);
    table_ = fresh;
    return fresh;
}

}  // namespace goldlink::pxe
