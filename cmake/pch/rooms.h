// What many sources of the rooms include: the standard library, and what every generated *.pb.h needs.
#pragma once

#include <google/protobuf/extension_set.h>
#include <google/protobuf/generated_message_util.h>
#include <google/protobuf/map_field_lite.h>
#include <google/protobuf/message_lite.h>
#include <google/protobuf/repeated_field.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <expected>
#include <filesystem>
#include <format>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <ranges>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

// libstdc++ 14 generates the whole of std::vformat in every source that formats: a second each. Here it is left to
// one, src/base/format_instance.cc. Without this everything builds as well, slower.
#if defined(__GLIBCXX__) && _GLIBCXX_RELEASE == 14 && !defined(__clang__)
extern template class std::__format::_Formatting_scanner<std::__format::_Sink_iter<char>, char>;
#endif
