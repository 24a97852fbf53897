#include "deploy/addresses.h"

#include <cstdint>
#include <format>

namespace perdure::deploy {
namespace {

std::uint32_t number_of(const model::Ipv4Address& address) {
  std::uint32_t number = 0;
  for (const std::uint8_t byte : address.bytes) number = number << 8U | byte;
  return number;
}

model::Ipv4Address address_of(std::uint32_t number) {
  model::Ipv4Address address;
  for (std::size_t i = 0; i < address.bytes.size(); ++i) address.bytes[i] = static_cast<std::uint8_t>(number >> (24U - 8U * i));
  return address;
}

bool is_within(const model::Ipv4Range& range, const model::Ipv4Address& address) {
  return range.first.address <= address && address <= range.last;
}

bool has_own_address(const model::Application& application, const placement::PlannedContainer& container) {
  if (!container.settings) return false;
  const model::NetworkSpec& network = application.containers[*container.settings].settings.network;
  return network.attached() || network.ipv4 || network.ipv6;
}

// The lowest of the ranges that nobody has.
std::optional<model::Ipv4Prefix> next_free(const model::Application& application, const std::set<model::Ipv4Address>& used) {
  for (const model::Ipv4Range& range : application.network.addresses) {
    const std::uint64_t last = number_of(range.last);
    for (std::uint64_t number = number_of(range.first.address); number <= last; ++number) {
      const model::Ipv4Address address = address_of(static_cast<std::uint32_t>(number));
      if (!used.contains(address)) return model::Ipv4Prefix{address, range.first.length};
    }
  }
  return std::nullopt;
}

}  // namespace

Result<std::vector<std::optional<model::Ipv4Prefix>>> assign_addresses(const model::Application& application,
                                                                       const placement::Grouping& grouping,
                                                                       const TakenAddresses& taken) {
  std::vector<std::optional<model::Ipv4Prefix>> addresses(grouping.containers.size());
  if (std::holds_alternative<model::NoNetwork>(application.network.attachment)) return addresses;
  std::set<model::Ipv4Address> used = taken.foreign;
  if (application.network.ipv4_gateway) used.insert(*application.network.ipv4_gateway);
  for (const model::ContainerSettings& settings : application.containers) {
    if (settings.settings.network.ipv4) used.insert(settings.settings.network.ipv4->address);
  }
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    if (has_own_address(application, grouping.containers[i])) continue;
    const auto kept = taken.kept.find(grouping.containers[i].name);
    if (kept == taken.kept.end() || used.contains(kept->second)) continue;
    for (const model::Ipv4Range& range : application.network.addresses) {
      if (addresses[i] || !is_within(range, kept->second)) continue;
      addresses[i] = model::Ipv4Prefix{kept->second, range.first.length};
      used.insert(kept->second);
    }
  }
  std::size_t missing = 0;
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    if (addresses[i] || has_own_address(application, grouping.containers[i])) continue;
    addresses[i] = next_free(application, used);
    if (addresses[i]) {
      used.insert(addresses[i]->address);
    } else {
      ++missing;
    }
  }
  if (missing > 0) {
    return fail(ErrorCode::kNoSpace,
                std::format("{} of {} containers get no address: network.addresses has too few that are free; add {}", missing,
                            addresses.size(), missing));
  }
  return addresses;
}

}  // namespace perdure::deploy
