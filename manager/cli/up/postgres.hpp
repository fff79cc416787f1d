// The private PostgreSQL of `goldlink up`: a cluster in D/postgres, reached over a unix socket in
// D/run/postgresql alone. Made once, by whole folders: a start that was killed half-way through
// leaves nothing that counts. PostgreSQL refuses to run as root, so root runs it as another user,
// the one that owns the cluster.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "common/child.hpp"
#include "common/result.hpp"
#include "manager/cli/up/account.hpp"
#include "manager/cli/up/state_dir.hpp"

namespace goldlink::up {

class Postgres {
  public:
    // Finds the binaries and the user, makes the cluster when there is none, and ends what an
    // earlier run left behind.
    static Result<Postgres> prepare(const StateDir& state);

    ChildOptions child_options() const;  // without on_line
    // Ends leftover processes of the cluster and clears a pid file that names a stranger.
    Result<> clear_leftovers() const;
    // Whether the postmaster with this pid accepts connections.
    bool ready(pid_t pid) const;
    std::string database_url() const;

  private:
    static Result<std::filesystem::path> find_binaries(const std::filesystem::path& data);
    Result<> create_cluster() const;
    Result<> write_settings(const std::filesystem::path& folder) const;
    Result<std::string> run(std::vector<std::string> argv, const std::string& input) const;

    std::filesystem::path data_;
    std::filesystem::path sockets_;
    std::filesystem::path binaries_;
    Account account_;
};

}  // namespace goldlink::up
