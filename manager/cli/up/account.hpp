// The user that PostgreSQL runs as. It refuses root, so root becomes another user between fork and
// exec; who is not root stays who he is.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <string>

#include "common/result.hpp"

namespace goldlink::up {

struct Account {
    uid_t uid = 0;
    gid_t gid = 0;
    std::string name;
    bool become = false;        // we are root and become this user
    bool pass_folders = false;  // keeping the one capability to pass through others' folders

    // The owner of the data folder where it exists; else, for root, `postgres` or the first of the
    // other users that exists.
    static Result<Account> choose(const std::filesystem::path& data);

    // Makes sure that the user gets to `folder`. A folder on the way that is closed to him is
    // passed with CAP_DAC_READ_SEARCH where we have that, and is an error where not.
    Result<> reach(const std::filesystem::path& folder);
    // chmod 0700, and chown where we become the user.
    Result<> own(const std::filesystem::path& path, mode_t mode) const;
    // For ChildOptions::before_exec: becomes the user; gets the signal `at_parents_death` when the
    // parent dies (SIGINT is PostgreSQL's fast shutdown).
    std::function<void()> before_exec(int at_parents_death) const;
};

// The name of the user we run as, or a clear error.
Result<std::string> account_name(uid_t uid);

}  // namespace goldlink::up
