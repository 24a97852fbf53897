// Strong types for what must never be mixed up: names, terms, incarnations, generations.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace perdure {

// A container's name: 1 to 63 characters of [a-z0-9-], beginning and ending with a letter or digit
// (RFC 1123 label), so that it is a file name, a host name and a cgroup name at once.
class ContainerName {
 public:
  static Result<ContainerName> parse(std::string_view text);  // kInvalid
  const std::string& str() const { return text_; }
  auto operator<=>(const ContainerName&) const = default;

 private:
  explicit ContainerName(std::string text) : text_(std::move(text)) {}
  std::string text_;
};

// A node's name: the same form; unique in its cluster.
class NodeName {
 public:
  static Result<NodeName> parse(std::string_view text);  // kInvalid
  const std::string& str() const { return text_; }
  auto operator<=>(const NodeName&) const = default;

 private:
  explicit NodeName(std::string text) : text_(std::move(text)) {}
  std::string text_;
};

template <typename Tag>
struct StrongNumber {
  std::uint64_t value = 0;
  auto operator<=>(const StrongNumber&) const = default;
};
using Term = StrongNumber<struct TermTag>;                // fencing number of a container's ownership
using Incarnation = StrongNumber<struct IncarnationTag>;  // one life of a perdured

// A capsule's place in its container's history. Ordered by (term, incarnation, number). The number always
// rises and is never used again, also after a rollback.
struct Generation {
  Term term;
  Incarnation incarnation;
  std::uint64_t number = 0;
  auto operator<=>(const Generation&) const = default;
};

// "3.1f.42": term and number decimal, incarnation hexadecimal. Parses what it prints.
std::string to_string(const Generation& generation);
Result<Generation> parse_generation(std::string_view text);  // kInvalid

}  // namespace perdure

template <>
struct std::hash<perdure::NodeName> {
  std::size_t operator()(const perdure::NodeName& name) const noexcept {
    return std::hash<std::string>{}(name.str());
  }
};

template <>
struct std::hash<perdure::ContainerName> {
  std::size_t operator()(const perdure::ContainerName& name) const noexcept {
    return std::hash<std::string>{}(name.str());
  }
};
