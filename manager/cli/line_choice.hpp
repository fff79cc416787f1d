// LineChoice: whether chunks travel faster compressed or as they are, found by trying. Compressing
// is worth its time on a slow line; on a fast one it is what everything waits for. One thread.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <span>

#include "manager/cli/patience.hpp"

namespace goldlink::cli {

class LineChoice {
  public:
    enum Way : std::size_t { packed, plain };  // chunk_frame.hpp has both

    // Goes through all of `items`, a request at a time. `packed(some)` does one of these or fails;
    // `plain(some, done)` says in `done` how many it did, and what it did not is done packed.
    template <typename Item, typename Packed, typename Plain>
    Result<> each(std::span<const Item> items, Packed packed_request, Plain plain_request) {
        while (!items.empty()) {
            const auto some = items.first(std::min(items.size(), most_chunks()));
            const auto begin = std::chrono::steady_clock::now();
            std::size_t done = some.size();
            const auto result = way_ == packed ? packed_request(some) : plain_request(some, done);
            if (!result && way_ == packed) return result;
            if (result)
                took(some.size(), std::chrono::steady_clock::now() - begin);
            else
                failed(may_pass(result.error()));
            items = items.subspan(done);
        }
        return {};
    }

    // For the next request.
    Way way() const { return way_; }
    std::size_t most_chunks() const;  // in it

    // It took that long.
    void took(std::size_t chunks, std::chrono::steady_clock::duration time);
    // A request of chunks as they are failed. Where the connection broke, what is small gets
    // through, and less is sent again; else the other side takes or gives none, or wrong ones, and
    // with what is packed it says why.
    void failed(bool connection_broke);
    void only_packed();

  private:
    void choose();

    bool only_packed_ = false;
    Way way_ = packed;
    bool trying_ = true;  // with a small request
    unsigned since_tried_ = 0;
    std::array<double, 2> chunks_a_second_{};  // as each went last; 0: not tried yet
};

}  // namespace goldlink::cli
