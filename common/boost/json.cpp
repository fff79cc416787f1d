// The one object that holds Boost.JSON's code.
#include <boost/json/src.hpp>
