#include "placement/eligibility.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <format>
#include <iterator>
#include <optional>
#include <string_view>

#include "base/units.h"

namespace perdure::placement {
namespace {

constexpr std::size_t kFeaturesNamed = 6;

// The leading numbers of "6.18.5-amd64", as many as there are, at most `parts`; nullopt without
// one.
std::optional<std::array<unsigned, 3>> version_of(std::string_view text, std::size_t parts) {
  std::array<unsigned, 3> version{};
  std::size_t n = 0;
  while (n < parts) {
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), version.at(n));
    if (error != std::errc{}) break;
    ++n;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    if (!text.starts_with('.')) break;
    text.remove_prefix(1);
  }
  if (n == 0) return std::nullopt;
  return version;
}

std::optional<std::string> check_version(std::string_view what, std::string_view remedy,
                                         std::string_view here, std::string_view owner,
                                         std::string_view whose, std::size_t parts) {
  const auto needed = version_of(owner, parts);
  if (!needed) return std::nullopt;  // nothing is known of the owner's: nothing to compare with
  const auto found = version_of(here, parts);
  if (found && *found >= *needed) return std::nullopt;
  return std::format("{} {} is older than {} of {}: {}", what,
                     here.empty() ? "(not found)" : here, owner, whose, remedy);
}

std::optional<std::string> check_processor(const std::vector<std::string>& owner,
                                           const std::vector<std::string>& node,
                                           std::string_view whose) {
  std::vector<std::string> missing;
  for (const std::string& feature : owner) {
    if (!std::ranges::contains(node, feature)) missing.push_back(feature);
  }
  if (missing.empty()) return std::nullopt;
  std::string names;
  for (std::size_t n = 0; n < std::min(missing.size(), kFeaturesNamed); ++n) {
    names += (n == 0 ? "" : ", ") + missing[n];
  }
  if (missing.size() > kFeaturesNamed) {
    names += std::format(" and {} more", missing.size() - kFeaturesNamed);
  }
  return std::format(
      "the processor lacks {} of {}'s: take a node with the same processor, "
      "or run the container first on the weaker one",
      names, whose);
}

}  // namespace

std::vector<std::string> check_eligible(const Requirements& requirements,
                                        const model::HostFacts& node) {
  const model::HostFacts& owner = requirements.host;
  std::vector<std::string> reasons;
  const auto add = [&](std::optional<std::string> reason) {
    if (reason) reasons.push_back(*std::move(reason));
  };
  if (node.machine != owner.machine) {
    // Everything else follows from it.
    return {
        std::format("architecture {} is not {} of {}: processes can only be restored on "
                    "the same one",
                    node.machine.empty() ? "(not known)" : node.machine, owner.machine,
                    requirements.whose)};
  }
  add(check_processor(owner.cpu_features, node.cpu_features, requirements.whose));
  add(check_version("criu", "install the owner's version or a newer one", node.criu_version,
                    owner.criu_version, requirements.whose, 3));
  add(check_version("kernel", "boot the owner's version or a newer one", node.kernel_release,
                    owner.kernel_release, requirements.whose, 2));
  if (requirements.other_users && !node.can_restore_other_users) {
    reasons.emplace_back(
        "processes of other users than root cannot be restored without CAP_SYS_RESOURCE: give it "
        "to perdured there, or run the container's processes as root");
  }
  if (requirements.memory_bytes > node.memory_bytes) {
    reasons.push_back(std::format(
        "the container's state of {} does not fit into its memory of {}: "
        "take a larger node",
        format_bytes(Bytes{requirements.memory_bytes}), format_bytes(Bytes{node.memory_bytes})));
  }
  return reasons;
}

}  // namespace perdure::placement
