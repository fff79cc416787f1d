#include "common/check.hpp"

#include <cstdio>
#include <cstdlib>

namespace goldlink {

void check_failed(const char* condition, const char* message, const char* file, int line) noexcept {
    std::fprintf(stderr, "%s:%d: bug: %s (%s)\n", file, line, message, condition);
    std::abort();
}

}  // namespace goldlink
