#include "node/young_connections.h"

#include <iterator>

namespace perdure::node {

void YoungConnections::add(std::span<const network::TcpTuple> begun) {
  for (const network::TcpTuple& connection : begun) {
    if (const auto known = by_connection_.find(connection); known != by_connection_.end()) told_.erase(known->second);
    told_.push_back({connection, generations_});
    by_connection_[connection] = std::prev(told_.end());
    if (told_.size() > kMax) forget_oldest();
  }
}

void YoungConnections::generation_added() {
  ++generations_;
  while (!told_.empty() && generations_ - told_.front().generations > kGenerationsBack) forget_oldest();
}

void YoungConnections::forget_oldest() {
  by_connection_.erase(told_.front().connection);
  told_.pop_front();
}

std::vector<network::TcpTuple> YoungConnections::all() const {
  std::vector<network::TcpTuple> all;
  for (const Told& each : told_) all.push_back(each.connection);
  return all;
}

}  // namespace perdure::node
