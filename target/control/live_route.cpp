// GET /live: for who supervises this process. It crosses every reactor, as a link's commands do,
// and the table of links: an answer says that clients are served, not only that a socket is open.
#include <fmt/format.h>

#include <condition_variable>
#include <mutex>

#include "common/http/live.hpp"
#include "target/control/control_context.hpp"
#include "target/reactor/reactor.hpp"

namespace goldlink::control {
namespace {

constexpr std::chrono::seconds kLimit{3};

// Shared with what is posted: a reactor that stands still runs it later, or never.
struct Turn {
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<bool> turned;  // by index of the reactor
    std::size_t left = 0;
};

http::Response get_live(const std::vector<reactor::Reactor*>& reactors, ControlContext& context) {
    const auto turn = std::make_shared<Turn>();
    turn->turned.resize(reactors.size());
    turn->left = reactors.size();
    for (std::size_t i = 0; i < reactors.size(); ++i)
        reactors[i]->post([turn, i] {
            const std::lock_guard lock(turn->mutex);
            turn->turned[i] = true;
            --turn->left;
            turn->changed.notify_all();
        });
    const std::size_t links = context.links.size();  // takes the table's lock
    std::unique_lock lock(turn->mutex);
    if (turn->changed.wait_for(lock, kLimit, [&] { return turn->left == 0; }))
        return respond_text(
            200, fmt::format("{{\"reactors\":{},\"links\":{}}}", reactors.size(), links));
    std::vector<std::size_t> stuck;
    for (std::size_t i = 0; i < reactors.size(); ++i)
        if (!turn->turned[i]) stuck.push_back(i);
    return http::problem(503, http::kNotLive, "A reactor stands still",
                         fmt::format("reactor {} did not answer within {} s",
                                     fmt::join(stuck, ", "), kLimit.count()));
}

}  // namespace

void add_live_route(std::vector<http::Route>& routes, std::vector<reactor::Reactor*> reactors,
                    ControlContext& c) {
    routes.push_back({"GET", "/live", [reactors = std::move(reactors), &c](http::Request&) {
                          return get_live(reactors, c);
                      }});
}

}  // namespace goldlink::control
