// The connections of a container that may be younger than the newest generation of it: where that is restored, nobody else knows
// of them. What is older than a generation is in it, or has ended. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <span>
#include <vector>

#include "network/address.h"

namespace perdure::node {

class YoungConnections {
 public:
  static constexpr std::size_t kMax = 1024;  // of more, the newest: as many as a gate remembers
  // A standby goes on with a generation that is so much older than the newest, after those between have failed on their node; that
  // it is sent there once more counts too.
  static constexpr std::uint64_t kGenerationsBack = 5;

  // What is known already counts as told now.
  void add(std::span<const network::TcpTuple> begun);
  // There is another generation. What more than kGenerationsBack have followed is forgotten.
  void generation_added();
  std::vector<network::TcpTuple> all() const;  // the oldest first

 private:
  struct Told {
    network::TcpTuple connection;
    std::uint64_t generations = 0;  // so many had been added then
  };
  void forget_oldest();

  std::uint64_t generations_ = 0;
  std::list<Told> told_;  // the oldest first
  std::map<network::TcpTuple, std::list<Told>::iterator> by_connection_;
};

}  // namespace perdure::node
