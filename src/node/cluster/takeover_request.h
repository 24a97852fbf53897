// `perdure takeover` on the daemon's side; and what is said of a container whose owner cannot be reached.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "coord/cluster_view.h"
#include "model/cluster.h"
#include "node/cluster/peers.h"
#include "node/control_request.h"

namespace perdure::node {

std::unique_ptr<ControlRequest> make_takeover_request(RequestSetup& setup);

struct OwnerAway {
  std::string waits_for;
  std::string remedy;
  bool needs_word = false;  // nobody takes it over by itself
};
enum class StoreKnown { kNo, kYes };
// As this node sees it, which has nothing of it that could run; absent: its owner is connected, or nothing of it is wanted to run.
std::optional<OwnerAway> owner_away(const model::OwnershipRecord& record, const model::NodeLife& self, const Peers& peers,
                                    StoreKnown store);
// This node hears it, or is it.
bool owner_is_there(const model::OwnershipRecord& record, const model::NodeLife& self, const Peers& peers);
// It is to run and does not yet, but will by itself: it starts, or a standby that this node can reach, or is, takes it over.
bool is_coming(const model::OwnershipRecord& record, const model::NodeLife& self, const Peers& peers);
// Who may take it over by itself: a standby in the life that the record names, which this node can reach, or is.
std::optional<NodeName> live_standby(const model::OwnershipRecord& record, const model::NodeLife& self, const Peers& peers);

}  // namespace perdure::node
