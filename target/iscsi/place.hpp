// Place: what a login takes over when it reinstates a session or a connection (RFC 7143 6.3.4,
// 6.3.5). The later login waits until the older holder is gone: only then are all of the older
// one's tasks over, and it is told so by the Place's end. One thread.
#pragma once

namespace goldlink::iscsi {

class Connection;

class Place {
  public:
    Place() = default;
    ~Place() { vacate(); }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

    // The login waits for this place; one that waited already is refused.
    void await(Connection& login);
    void leave(const Connection& login);
    bool awaited() const { return login_ != nullptr; }

    // The holder is gone: the login that waits goes on.
    void vacate();

  private:
    Connection* login_ = nullptr;
};

}  // namespace goldlink::iscsi
