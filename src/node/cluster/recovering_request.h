// What `perdure cluster recover` and `perdure takeover` have in common: all nodes that can be reached are asked what they have, a plan
// follows (recovery_plan.h), and one container after the other is brought back. Loop thread only.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "node/cluster/cluster_request.h"
#include "node/cluster/recovery_plan.h"

namespace perdure::node {

class RecoveringRequest : public ClusterRequest {
 public:
  using ClusterRequest::ClusterRequest;

 protected:
  Membership& membership() { return *cluster()->membership(); }
  const NodeName& self() { return membership().identity().node; }
  // "has no quorum: of its managers …"
  std::string no_quorum();
  // To this node as well.
  void ask(const NodeName& to, peer::v1::Message message, Duration limit, Peers::Answer answer);

  // Who answers in time, and what the directory that all nodes see holds of `of` (empty: of all records); then `then`.
  void collect(std::set<ContainerName> of, std::function<void()> then);
  const std::vector<NodeInventory>& inventories() const { return inventories_; }
  // What collect() has found, and what has been tried since.
  RecoveryQuestion question(const std::set<ContainerName>& only);

  // Its record is written as planned, then it is restored, or told to go back. `ordered_by`: empty: as a recovery. An error of
  // kCorrupt: this generation does not verify where it lies, and is left out of the next question().
  using BroughtBack = std::function<void(std::optional<Error>)>;
  void bring_back(const RecoveryRow& row, std::string ordered_by, BroughtBack done);

  // The plan may be minutes old when the record is written.
  virtual std::optional<Error> check_before_write(const RecoveryRow&) { return std::nullopt; }

 private:
  void collect_durable();
  void ask_durable(const NodeName& node);
  void collected();
  void finish_row(std::optional<Error> error);
  void write(std::function<void()> then);
  void create(std::function<void()> then);
  void swap(coord::Revision expected, std::function<void()> then);
  void go_back();
  std::string image_digest() const;
  void prepare();
  void take();

  std::set<ContainerName> of_;
  std::function<void()> then_;
  std::vector<NodeInventory> inventories_;
  std::map<ContainerName, std::vector<InventoryCopy>> durable_;
  std::map<ContainerName, std::string> durable_images_;
  std::vector<NodeName> takers_;
  std::vector<NodeName> unasked_;  // for the durable directory
  std::size_t open_ = 0;
  std::map<ContainerName, std::set<Generation>> unusable_;
  RecoveryRow row_{.name = *ContainerName::parse("none")};
  std::string ordered_by_;
  NodeName taken_from_ = *NodeName::parse("none");
  BroughtBack brought_back_;
  coord::Revision expected_ = 0;  // of the record when it was planned; 0: there was none
  coord::Revision revision_ = 0;  // of what was written last
  Instant limit_{};
  io::Timer timer_;
};

}  // namespace perdure::node
