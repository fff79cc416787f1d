// The manager's REST API as the verbs use it: paths below /api/v1, JSON in and out, pages gathered,
// problem details turned into an Error that says what, why and what to do. One thread.
// Include only from .cpp files: Boost.JSON is heavy.
#pragma once

#include <boost/json.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "common/http/client.hpp"
#include "common/result.hpp"

namespace goldlink::cli {

namespace json = boost::json;

class Api {
  public:
    // `url` is the manager's base, "http://host:port"; `token_source` names where the token came
    // from, for the message when the manager refuses it.
    Api(std::string url, std::string token, std::string token_source);

    // `path` begins with '/', below /api/v1, encoded. A call without content answers null.
    Result<json::value> get(const std::string& path);
    Result<json::value> get(const std::string& path, std::chrono::seconds timeout);
    Result<json::value> post(const std::string& path, const json::value& body);
    Result<json::value> put(const std::string& path, const json::value& body);
    Result<json::value> patch(const std::string& path, const json::value& body);
    Result<> remove(const std::string& path);
    Result<json::value> post_text(const std::string& path, std::string content_type,
                                  std::string body);
    // All items of a list, page by page.
    Result<json::array> list(const std::string& path);
    // Streams a body of `length` bytes from `source`.
    Result<json::value> upload(const std::string& path, std::uint64_t length,
                               std::function<Result<std::size_t>(char*, std::size_t)> source);
    // Octets in and out; a longer answer is refused.
    Result<std::string> octets(std::string method, const std::string& path, std::string body,
                               std::size_t max_answer_bytes);
    // Reads a body of any kind until `on_data` returns false or it ends.
    Result<> download(const std::string& path, std::function<bool(std::string_view)> on_data);
    // Octets in, and a body as it comes.
    Result<> octets_to(std::string method, const std::string& path, std::string body,
                       std::function<bool(std::string_view)> on_data);
    // Reads server-sent events until `on_data` returns false or the stream ends.
    Result<> stream(const std::string& path, std::int64_t last_event_id,
                    std::function<bool(std::string_view)> on_data);

    // The answer of GET /health, which needs no token and may come with status 503.
    Result<json::value> health();

    const std::string& url() const { return url_; }

  private:
    Result<json::value> call(http::ClientRequest request);
    http::ClientRequest request(std::string method, const std::string& path) const;
    Error problem_error(const http::ClientResponse& response) const;
    Error connection_error(Error error) const;

    std::string url_;
    std::string token_;
    std::string token_source_;
    http::Client client_;
};

// "a=b&c=d", values percent-encoded, those that are empty left out; led by '?' unless all are.
std::string query(const std::map<std::string, std::string>& parameters);

// Members of an API object for display; absent, null or of another type give the fallback.
std::string text_of(const json::value& object, std::string_view name, std::string fallback = "");
std::int64_t int_of(const json::value& object, std::string_view name, std::int64_t fallback = 0);
bool has_value(const json::value& object, std::string_view name);
const json::value* member(const json::value& object, std::string_view name);
// An array member, or an empty array.
const json::array& items_of(const json::value& object, std::string_view name);

// The Error for a problem document: a line on what and why, one for each thing in the way, one on
// what to do. Exposed for its test.
Error error_of_problem(int status, const json::value& problem);

}  // namespace goldlink::cli
