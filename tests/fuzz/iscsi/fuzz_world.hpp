// What the fuzzed connections talk to: two targets over one small memory disk each, one of them
// with CHAP; and a way to feed a connection from a fuzzer's input in pieces of its choosing.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "target/iscsi/connection.hpp"

namespace goldlink::iscsi::fuzz {

class World final : public Directory {
  public:
    World();
    ~World() override;

    std::shared_ptr<const TargetEntry> find_target(std::string_view iqn) const override;
    std::vector<std::shared_ptr<const TargetEntry>> list_targets(std::string_view) const override;
    void login_refused(std::string_view, std::string_view, std::string_view,
                       std::string_view) override {}

    void run_background();  // of the devices, as the loop would

    Environment environment;

  private:
    struct Link;
    std::map<std::string, std::unique_ptr<Link>, std::less<>> links_;
    std::map<std::string, std::shared_ptr<TargetEntry>, std::less<>> entries_;
};

struct NullTransport final : Transport {
    void output_pending() override {}
    void flush() override {}
};

// Feeds `bytes` as a socket would, in pieces of at most `piece` bytes, and checks what comes back
// for its shape; ends the connection and checks that nothing is left behind.
void run(World& world, Connection& connection, Bytes bytes, std::size_t piece);
void finish(World& world, std::unique_ptr<Connection> connection);

// A login that reaches full feature phase.
std::vector<std::uint8_t> login_request(bool digests);

}  // namespace goldlink::iscsi::fuzz
