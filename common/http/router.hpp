// Which route a request line means: decoding of targets and matching of patterns. Pure.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/http/server.hpp"
#include "common/result.hpp"

namespace goldlink::http {

// A request target taken apart. Segments are decoded one by one, so that %2F stays inside its own.
struct Target {
    std::vector<std::string> segments;
    std::string path;  // decoded
    std::map<std::string, std::string> query;
    std::string authority;  // of absolute form, "" else; stands for Host (RFC 9112 3.2.2)

    // Refuses what is neither origin form nor absolute form of http, bad escapes, zero bytes, and
    // "." or ".." segments, encoded or not: no client that means well sends them.
    static Result<Target> parse(std::string_view text);
};

class Router {
  public:
    explicit Router(std::vector<Route> routes);

    struct Match {
        const Route* route = nullptr;
        std::map<std::string, std::string> params;
        std::vector<std::string> allowed;  // when only the method was wrong
    };
    // Literal segments win over {names}, which win over {rest...}. HEAD matches GET routes.
    Match find(std::string_view method, const Target& target) const;

  private:
    struct Entry {
        Route route;
        std::vector<std::string> segments;
        std::string rank;  // orders the more literal pattern first
    };
    std::vector<Entry> entries_;
};

Result<std::string> percent_decode(std::string_view text, bool plus_is_space);

}  // namespace goldlink::http
