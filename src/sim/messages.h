// What nodes say to each other over connections: what node/cluster/ says in protobuf.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/ids.h"
#include "policy/ownership_events.h"

namespace perdure::sim {

// First thing after a connection: everything that is held here.
struct HeldReport {
  std::map<ContainerName, Generation> newest;
};
// What of this container? The report of the connection may be old.
struct AskHeld {};
struct HeldNow {
  std::optional<Generation> newest;
};
struct Enlist {
  Term term;
};
struct EnlistReply {
  std::string refusal;
  bool fenced = false;
  std::optional<Generation> held;
};
struct Ship {
  Term term;
  Generation generation;
  std::optional<Generation> committed;
};
struct ShipReply {
  Generation generation;
  std::string refusal;
  bool fenced = false;
};
struct CommitNotice {
  Term term;
  std::optional<Generation> generation;  // absent: only the term
};
struct Dismiss {
  Term term;
};
struct DismissReply {
  std::string refusal;
  bool fenced = false;
};
struct Fetch {
  Term term;
};
struct Fetched {
  std::optional<Generation> generation;
};
struct Prepare {
  Term term;
};
struct PrepareReply {
  std::string refusal;
};
struct Take {
  Term term;
  Generation generation;
  policy::ownership::Revision revision = 0;
};
struct TakeReply {
  Term term;
  std::string error;
};

using Body = std::variant<HeldReport, AskHeld, HeldNow, Enlist, EnlistReply, Ship, ShipReply, CommitNotice, Dismiss,
                          DismissReply, Fetch, Fetched, Prepare, PrepareReply, Take, TakeReply>;
struct Message {
  ContainerName container;  // of HeldReport: of no account
  Body body;
};
std::string to_string(const Body& body);

}  // namespace perdure::sim
