// The boot table: what each machine boots, as the manager last said. A value, never changed after
// it was made; TableStore (table_store.hpp) swaps and persists it. Threads: any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "common/bytes.hpp"
#include "common/mac.hpp"
#include "common/result.hpp"

namespace goldlink::pxe {

inline constexpr std::size_t kMaxClients = 65536;
inline constexpr std::size_t kMaxMacsPerClient = 16;
inline constexpr std::size_t kMaxHttpBase = 64;  // leaves room for the query in DHCP's file field

// What happens to a machine that no client of the table has the address of.
enum class UnknownPolicy : std::uint8_t {
    register_it,  // "register": reported at once, the manager makes it a pending client
    ask,          // reported when the person at the machine says so
    local,        // left alone
};

enum class BootFrom : std::uint8_t { link, local };

struct TableSettings {
    UnknownPolicy unknown_policy = UnknownPolicy::local;
    unsigned menu_timeout_seconds = 10;  // 1..300
    std::string http_base;               // "": the address the machine reached us on
    std::string naming_pattern;          // kept for the manager, which does the naming
};

struct TableClient {
    std::string id;
    std::string name;
    std::vector<Mac> macs;
    std::optional<std::string> link_id;
    BootFrom boot = BootFrom::link;
    std::string initiator;  // the IQN iPXE and the OS log in as; "": iPXE's own
    // Starts this CD-ROM of the link, its disk attached.
    std::optional<std::uint16_t> install_lun = {};
};

class BootTable {
  public:
    BootTable() = default;
    // Errors: invalid (too many, no MAC), conflict when two clients share a MAC or an id.
    static Result<BootTable> make(std::uint64_t revision, TableSettings settings,
                                  std::vector<TableClient> clients);

    std::uint64_t revision() const { return revision_; }
    const TableSettings& settings() const { return settings_; }
    const std::vector<TableClient>& clients() const { return clients_; }
    std::size_t macs() const { return by_mac_.size(); }
    const TableClient* find(const Mac& mac) const;

  private:
    struct MacHash {
        std::size_t operator()(const Mac& mac) const {
            return std::hash<std::string_view>()(as_text(mac.bytes));
        }
    };

    std::uint64_t revision_ = 0;
    TableSettings settings_;
    std::vector<TableClient> clients_;
    std::unordered_map<Mac, std::size_t, MacHash> by_mac_;
};

std::string_view to_string(UnknownPolicy policy);
std::string_view to_string(BootFrom boot);
Result<UnknownPolicy> parse_unknown_policy(std::string_view text);
Result<BootFrom> parse_boot_from(std::string_view text);
// "http://host" or "http://host:port", host a name or an IPv4 address, at most kMaxHttpBase bytes.
Result<> check_http_base(std::string_view text);

}  // namespace goldlink::pxe
