// A blocking HTTP/1.1 client for TCP and unix sockets, with one time limit per call.
// A Client keeps its connection alive between calls and reconnects as needed. One thread at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/http/body.hpp"
#include "common/result.hpp"

namespace goldlink::http {

struct ClientRequest {
    std::string method = "GET";
    std::string target{};  // path and query, encoded
    std::string body{};
    std::string content_type = "application/json";
    std::vector<std::pair<std::string, std::string>> headers{};
    std::chrono::milliseconds timeout{30000};
    std::size_t max_response_bytes = 64 << 20;
    // When set, the body comes from here, with its declared length; the timeout then bounds each
    // step, not the whole. An answer that comes before the body's end ends the sending, also while
    // the source has nothing.
    BodySource* body_source = nullptr;
    // When set, response bytes go here as they come (SSE, downloads), only for 2xx statuses; return
    // false to end the call. The timeout then bounds each step.
    std::function<bool(std::string_view bytes)> on_data{};
    // When set, the response goes on to there, only for 2xx statuses; bounded as `on_data` is.
    BodyWriter* body_to = nullptr;
};

struct ClientResponse {
    int status = 0;
    std::string body;
    std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
    std::string header(std::string_view name) const;
};

class Client {
  public:
    // "http://host:port", "host:port" or "unix:/path".
    explicit Client(std::string address);
    ~Client();
    Client(Client&&) noexcept;
    Client& operator=(Client&&) noexcept;

    // Errors: unavailable (cannot connect, connection lost), timeout, invalid (not HTTP).
    Result<ClientResponse> send(const ClientRequest& request);

  private:
    struct State;
    std::unique_ptr<State> state_;
};

std::string percent_encode(std::string_view text);

}  // namespace goldlink::http
