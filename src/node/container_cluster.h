// What Node and the requests need of a cluster, if there is one: the seam between the containers of this host and the rest.
//
// Loop thread only.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "capsule/format/capsule.h"
#include "control.pb.h"
#include "model/cluster.h"
#include "model/spec.h"
#include "pki/key_ring.h"
#include "replica/file_system.h"
#include "replica/late_store.h"

namespace perdure::node {

class ContainerService;

// Of a container that was found dead after perdured's start: what others have of it.
struct HeldElsewhere {
  capsule::CapsuleRef capsule;  // null: nothing that is needed
  // What this node itself holds that is older than `capsule`, the best first: if that cannot be restored.
  std::vector<capsule::CapsuleRef> older = {};
  Term term;                    // of the record
  // The record names standbys, and none of them holds its memory any more: the newest generations may be lost.
  bool lost = false;
};

// The directory that all nodes see, of one container. What is called here blocks (pool threads only), for as long as the
// storage below it likes.
struct SharedStore {
  std::string directory;
  replica::StoreOpener open;
  std::function<Status()> remove;  // with all that is in it
  // What is there of another container of that name, made before the term `first`: kept_capsules.h.
  std::function<Status(Term first, WallTime now)> set_aside;
};

class ContainerCluster {
 public:
  virtual ~ContainerCluster() = default;
  virtual bool member() const = 0;

  virtual void claim(const model::ContainerSpec& spec, model::DesiredState desired, std::function<void(Status)> done) = 0;
  virtual void disclaim(const ContainerName& name) = 0;
  // An image that is to be here: it is already, or comes from a node that has it.
  virtual void fetch_image(const std::string& digest, std::function<void(Status)> done) = 0;
  virtual void attach(ContainerService& service) = 0;
  virtual void attach_recovered(ContainerService& service) = 0;
  virtual void recovered(ContainerService& service) = 0;
  // A container that was found dead: its record is read and its standbys are asked. `done` may come late, or never.
  virtual void find_elsewhere(const ContainerName& name, Term known, std::function<void(HeldElsewhere)> done) = 0;
  virtual void detached(const ContainerName& name, bool left) = 0;
  // Of a removed container: `done` when others can have its name and addresses. May come late, or never.
  virtual void when_released(const ContainerName& name, std::function<void()> done) = 0;
  // Where all nodes see the container's generations; absent: each node has its own directory.
  virtual std::optional<SharedStore> shared_store(const ContainerName& name, Term term) = 0;
  // Of this node's own directories; seals what a member writes.
  virtual std::shared_ptr<replica::FileSystem> file_system() = 0;
  // Of a container that has been claimed and is not made yet. 0: nothing is claimed.
  virtual Term claimed(const ContainerName& name) const = 0;
  virtual std::shared_ptr<const pki::KeyRing> ring() const = 0;  // null: no member
  virtual void settle(const ContainerName& name, model::DesiredState desired, std::function<void(Status)> done) = 0;
  virtual void fill(control::v1::ContainerStatus& status, const ContainerName& name) const = 0;
  virtual std::vector<control::v1::ContainerStatus> others() const = 0;
  // What the record of a container says that is not here; absent: there is none.
  virtual std::optional<control::v1::ContainerStatus> row_of(const ContainerName& name) const = 0;
  // It is to run, does not yet, here or elsewhere, and will by itself as far as this node sees.
  virtual bool is_coming(const ContainerName& name) const = 0;
};

}  // namespace perdure::node
