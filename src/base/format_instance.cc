// The one instance of what std::vformat is made of, for all sources that are compiled with cmake/pch/rooms.h.
#include <format>

#if defined(__GLIBCXX__) && _GLIBCXX_RELEASE == 14 && !defined(__clang__)
template class std::__format::_Formatting_scanner<std::__format::_Sink_iter<char>, char>;
#endif
