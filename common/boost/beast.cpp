// The one object that holds Boost.Beast's code (BOOST_BEAST_SEPARATE_COMPILATION).
#include <boost/beast/src.hpp>
