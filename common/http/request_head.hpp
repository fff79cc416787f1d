// The head of a request as it came, before it is parsed: where it ends, and whether everybody who
// reads it (we, a proxy before us) would see the same request in it. What is doubtful is refused
// and the connection ends (RFC 9112 2.2, 3.2, 5.1, 5.2, 6.1, 6.3): what follows could be taken for
// a request of somebody else's. Pure.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace goldlink::http {

// Looks for the end of the head in bytes that come little by little.
class HeadEnd {
  public:
    enum class Found { more, end, fault };

    // `bytes`: all so far, beginning with the same ones each time.
    Found look(std::string_view bytes);
    std::size_t head_bytes() const { return at_; }  // once found: with the empty line
    const std::string& fault() const { return fault_; }

  private:
    std::size_t at_ = 0;  // looked at so far
    std::string fault_;
};

// What is wrong with a whole head, "" when nothing is. The request line is the parser's.
std::string head_fault(std::string_view head);

// host [":" port] (RFC 9110 7.2), without a user.
bool is_authority(std::string_view text);

}  // namespace goldlink::http
