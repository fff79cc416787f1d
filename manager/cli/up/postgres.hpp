// The private PostgreSQL of `goldlink up`: a cluster in D/postgres, reached over a unix socket in
// D/run/postgresql alone. Made once, by whole folders: each attempt has one of its own
// (D/postgres.new.XXXXXX), and only a finished one becomes D/postgres, so a start that was killed
// half-way through leaves nothing that counts. PostgreSQL refuses to run as root, so root runs it
// as another user, the one that owns the cluster.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <string>

#include "common/child.hpp"
#include "common/result.hpp"
#include "manager/cli/up/state_dir.hpp"

namespace goldlink::up {

class Postgres {
  public:
    explicit Postgres(const StateDir& state);

    // Finds the programs and the user, makes the cluster when there is none, ends what an earlier
    // run left behind: what to start, without on_line. Takes up to minutes; cancelled soon after
    // `stop` is set. On a thread of its own; the other functions are for any.
    Result<ChildOptions> prepare(const std::atomic<bool>& stop) const;
    // Whether the postmaster with this pid accepts connections.
    bool ready(pid_t pid) const;
    // Whether a postmaster answers: it is asked for TLS, which takes it a process of its own, but
    // neither a user nor a free connection.
    Result<> answers(std::chrono::milliseconds limit) const;
    std::string database_url() const;

  private:
    struct Setting;  // of one start

    Result<> clear_leftovers() const;

    const bool used_;  // the state folder's
    const std::filesystem::path state_;
    const std::filesystem::path data_;
    const std::filesystem::path sockets_;
};

}  // namespace goldlink::up
