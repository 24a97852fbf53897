// Cluster: how this node leaves it, with or without its containers.
#include <algorithm>
#include <format>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "io/when_all.h"
#include "node/cluster/cluster.h"
#include "node/cluster/founding.h"
#include "node/cluster/unsealing.h"
#include "node/paths.h"

namespace perdure::node {
namespace {

// Of a node that leaves with its containers: somebody else may be changing a record, or the watch be behind.
constexpr int kRecordTries = 20;
constexpr Duration kRecordPause = std::chrono::milliseconds(100);
constexpr Duration kRecordTime = std::chrono::seconds(5);
// Some gigabytes from a slow server; an operator waits, and sees progress.
constexpr Duration kKeepTime = std::chrono::minutes(5);

}  // namespace

void Cluster::leave(bool force, Progress progress, Done done) {
  if (!member()) return done(fail(ErrorCode::kConflict, "this node is in no cluster"));
  if (busy_) return done(fail(ErrorCode::kConflict, "another change of the membership is under way"));
  if (!keeping_.expired()) {
    return done(fail(ErrorCode::kConflict, "an attempt to leave before still waits for the durable directory; mend that first"));
  }
  if (!owned_.empty() && !force) {
    return done(fail(ErrorCode::kConflict,
                     std::format("this node owns {} containers; 'perdure node drain {}' moves them, --force keeps them here, in "
                                 "no cluster",
                                 owned_.size(), membership_->identity().node.str())));
  }
  if (!force && !ready() && !membership_->view().current()) {
    // Whether the cluster still has an entry of this node, which would stay, is not known.
    return when_ready(progress, [this, progress, done](const Status& ready) {
      if (ready) return leave(false, progress, done);
      done(fail(Error(ready.error()).context("this node cannot take its entry out of the cluster; --force leaves it there")));
    });
  }
  busy_ = true;
  progress("store", "storing what this host keeps without the cluster's keys");
  keep_without_keys([this, force, progress, done](Status kept) {
    if (!kept) return stay(std::move(kept), done);
    leave_now(force, progress, done);
  });
}

// It could not leave: what is stored from now on is sealed again.
void Cluster::stay(Status why, const Done& done) {
  busy_ = false;
  own_files_->seal(true);
  for (ContainerService* service : options_.node.containers()) service->resume_store();
  done(std::move(why));
}

void Cluster::leave_now(bool force, const Progress& progress, const Done& done) {
  const bool alone = membership_->view().nodes().size() <= 1;
  const bool known = membership_->view().node(membership_->identity().node) != nullptr;
  progress("leave", "leaving the cluster");
  if (alone || !known) return drop_and_forget(done);
  // Records first: what is left behind would keep names and addresses.
  remove_own_records(kRecordTries, [this, force, done] {
    membership_->remove_node(membership_->identity().node, "it has left", [this, force, done](Status removed) {
      if (removed || force) return drop_and_forget(done);
      stay(std::move(removed), done);
    });
  });
}

void Cluster::drop_and_forget(const Done& done) {
  standbys_->drop_all([this, done] {
    // Later: what tells of it is among what goes.
    options_.loop.post([this, token = lifetime_.token(), done] {
      if (token.alive()) forget_cluster(done);
    });
  });
}

void Cluster::forget_cluster(const Done& done) {
  const ClusterIdentity identity = membership_->identity();
  const std::vector<ContainerService*> services = options_.node.containers();
  for (ContainerService* service : services) service->join(nullptr);
  for (const auto& [name, revival] : revivals_) revival->give_up();
  end_membership();
  own_files_->use(nullptr);
  own_files_->seal(true);
  for (ContainerService* service : services) {
    options_.node.change_store(*service);
    service->leave_cluster();
  }
  busy_ = false;
  done(forget_membership(options_.host.paths, identity, options_.clock.wall()));
}

// Those of the containers that stay here. `done` when they are gone, or etcd does not let them go.
void Cluster::remove_own_records(int tries, std::function<void()> done) {
  io::WhenAll removals([this, token = lifetime_.token(), tries, done = std::move(done)] {
    if (!token.alive()) return;
    if (tries > 1 && membership_->view().current() && owns_records()) {
      leave_timer_ = options_.loop.after(kRecordPause, [this, tries, done] { remove_own_records(tries - 1, done); });
      return;
    }
    done();
  });
  for (const auto& [name, record] : membership_->view().records()) {
    if (record.record.owner.node != membership_->identity().node) continue;
    if (ContainerService* service = options_.node.find(name)) service->join(nullptr);
    forget_owned(name);
    membership_->records().remove(name, record.revision, options_.clock.now() + kRecordTime,
                                  [name, ended = removals.begin()](const Result<bool>& removed) {
                                    if (!removed) log::warning("{}: its record stays in the cluster: {}", name.str(), removed.error().message());
                                    ended();
                                  });
  }
  removals.all_begun();
}

bool Cluster::owns_records() const {
  return std::ranges::any_of(membership_->view().records(), [this](const auto& entry) {
    return entry.second.record.owner.node == membership_->identity().node;
  });
}

// Their capsules are sealed with the cluster's keys, and perhaps in its directory: neither is this node's any longer. What is
// captured meanwhile waits: its base may be among what goes.
void Cluster::keep_without_keys(Done done) {
  struct One {
    std::shared_ptr<replica::CapsuleStore> store;
    capsule::CapsuleRef in_memory;
    ContainerName name;
    std::string directory;
  };
  std::vector<One> all;
  for (ContainerService* service : options_.node.containers()) {
    if (service->shared_store() == nullptr) continue;  // it is being removed
    const ContainerName& name = service->spec().name;
    all.push_back({service->shared_store(), service->newest_in_memory(), name, ContainerPaths(options_.host.paths, name).capsules});
    service->pause_store();
  }
  own_files_->seal(false);
  const auto keeping = std::make_shared<Keeping>();
  keeping_ = keeping;
  const auto answer = std::make_shared<Done>(std::move(done));
  const auto once = [this, answer](Status kept) {
    const Done told = std::exchange(*answer, nullptr);
    if (!told) return;  // nobody waits for it any more; the timer is another attempt's
    leave_timer_.reset();
    told(std::move(kept));
  };
  leave_timer_ = options_.loop.after(kKeepTime, [keeping, once] {
    keeping->give_up();
    once(fail(ErrorCode::kTimeout, std::format("what this node's containers go back to could not be read and stored within {}: does "
                                               "the durable directory answer? This node stays a member", format_duration(kKeepTime))));
  });
  const Status submitted = options_.node.store_pool().submit(
      options_.loop, lifetime_,
      [all = std::move(all), files = files_, keeping]() -> Status {
        for (const One& one : all) PERDURE_TRY(keep_newest_alone(*one.store, one.in_memory, one.name, one.directory, *files, *keeping));
        return {};
      },
      once);
  if (!submitted) once(fail(submitted.error()));
}

}  // namespace perdure::node
