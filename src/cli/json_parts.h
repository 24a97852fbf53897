// How fields become JSON, for json_fields.h and its like. A part of json_output.cc, which alone
// includes it: nlohmann/json costs seconds in every file that sees it.
#pragma once

#define JSON_USE_IMPLICIT_CONVERSIONS 0
#include <nlohmann/json.hpp>

#include "cli/json_output.h"
#include "cli/words.h"

namespace perdure::cli {
namespace {

namespace v1 = control::v1;
using Json = nlohmann::ordered_json;

template <typename T>
struct Field {
  const char* name;
  const char* type;
  const char* meaning;
  Json (*get)(const T&);
};

// Specialised for every message that has a JSON form.
template <typename T>
std::span<const Field<T>> fields();

template <typename T>
Json object(const T& message) {
  Json result = Json::object();
  for (const Field<T>& field : fields<T>()) result[field.name] = field.get(message);
  return result;
}

template <typename T>
Json array(const google::protobuf::RepeatedPtrField<T>& messages) {
  Json result = Json::array();
  for (const T& message : messages) result.push_back(object(message));
  return result;
}

Json texts(const google::protobuf::RepeatedPtrField<std::string>& values) {
  Json result = Json::array();
  for (const std::string& value : values) result.push_back(value);
  return result;
}

Json text(std::string_view value) {
  return std::string(value);
}
Json durations(const google::protobuf::Map<std::string, std::int64_t>& values) {
  Json result = Json::object();
  for (const auto& [name, duration] : std::map<std::string, std::int64_t>(values.begin(), values.end())) result[name] = duration;
  return result;
}
Json text_or_null(const std::string& value) {
  return value.empty() ? Json() : Json(value);
}
Json time_or_null(bool known, std::int64_t unix_ms) {
  return known ? Json(rfc3339(unix_ms)) : Json();
}
template <typename T>
Json number_or_null(bool known, T value) {
  return known ? Json(value) : Json();
}
template <typename T>
Json object_or_null(bool known, const T& message) {
  return known ? object(message) : Json();
}

}  // namespace
}  // namespace perdure::cli
