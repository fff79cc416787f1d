#include "target/iscsi/place.hpp"

#include <utility>

#include "target/iscsi/connection.hpp"

namespace goldlink::iscsi {

void Place::await(Connection& login) {
    if (login_ != nullptr) std::exchange(login_, nullptr)->place_taken();
    login_ = &login;
}

void Place::leave(const Connection& login) {
    if (login_ == &login) login_ = nullptr;
}

void Place::vacate() {
    if (login_ != nullptr) std::exchange(login_, nullptr)->place_vacated();
}

}  // namespace goldlink::iscsi
