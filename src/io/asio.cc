// Boost.Asio's own sources, compiled once: BOOST_ASIO_SEPARATE_COMPILATION is set for the whole
// room.
#include <boost/asio/impl/src.hpp>
