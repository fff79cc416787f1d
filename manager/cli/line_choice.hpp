// LineChoice: whether chunks travel faster compressed or as they are, found by trying. Compressing
// is worth its time on a slow line; on a fast one it is what everything waits for. One thread.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>

namespace goldlink::cli {

class LineChoice {
  public:
    enum Way : std::size_t { packed, plain };  // chunk_frame.hpp has both

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
