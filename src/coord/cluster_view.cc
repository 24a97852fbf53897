#include "coord/cluster_view.h"

#include <algorithm>
#include <format>
#include <set>
#include <utility>

#include "base/assert.h"
#include "base/log.h"

namespace perdure::coord {

struct ClusterView::State : std::enable_shared_from_this<ClusterView::State> {
  State(io::Loop& loop_, Coordination& coordination_, Options options_)
      : loop(loop_), coordination(coordination_), options(options_), history(options_.known) {}

  io::Loop& loop;
  Coordination& coordination;
  const Options options;
  std::unique_ptr<Subscription> watch;
  std::map<std::uint64_t, std::shared_ptr<const ViewHandlers>> subscribers;
  std::uint64_t next_subscriber = 1;

  bool has_snapshot = false;
  bool watch_is_up = false;
  Revision revision = 0;
  StoreHistory history;  // the furthest that is known

  std::map<NodeName, Stored<model::NodeDescription>> nodes;
  std::map<ContainerName, StoredRecord> records;
  std::map<ContainerName, Stored<std::string>> specs;
  std::map<std::string, Stored<AddressClaim>> addresses;
  std::map<std::string, Stored<StoredToken>> tokens;
  std::map<NodeName, Stored<Revocation>> revocations;
  std::optional<Stored<ClusterSettings>> cluster;
  std::map<std::string, Error> problems;
  std::map<std::string, Revision> keys;  // all that there are, read or not

  template <typename Call>
  void tell(Call call) {
    const auto keep = shared_from_this();
    for (const auto& [id, handlers] : std::map(subscribers)) {
      if (subscribers.contains(id)) call(*handlers);
    }
  }

  void begin();
  void take_snapshot(const Snapshot& snapshot);
  void take_changes(Revision at, const std::vector<Change>& changes);
  void lost_history(const StoreHistory& now);

  // Into the view, without telling anybody.
  void apply(const std::string& key, const KeyValue* value);
  void tell_change(const std::string& key);
  template <typename Map, typename Name, typename T>
  void put(Map& map, Result<Name> name, const std::string& key, const KeyValue* value, Result<T> (*decode)(std::string_view));
};

namespace {

Result<std::string> plain(std::string_view text) { return std::string(text); }

class Subscriber final : public Subscription {
 public:
  explicit Subscriber(std::function<void()> end) : end_(std::move(end)) {}
  ~Subscriber() override { end_(); }

 private:
  std::function<void()> end_;
};

}  // namespace

void ClusterView::State::begin() {
  WatchHandlers handlers;
  handlers.on_snapshot = [this](const Snapshot& snapshot) { take_snapshot(snapshot); };
  handlers.on_changes = [this](Revision at, const std::vector<Change>& changes) { take_changes(at, changes); };
  handlers.on_lost = [this](const Error& error) {
    watch_is_up = false;
    tell([&](const ViewHandlers& to) {
      if (to.on_old) to.on_old(error);
    });
  };
  handlers.on_found = [this] {
    watch_is_up = true;
    if (!has_snapshot) return;  // the snapshot that follows says it
    tell([](const ViewHandlers& to) {
      if (to.on_current) to.on_current();
    });
  };
  watch = coordination.watch(std::string(kRootPrefix), std::move(handlers));
}

void ClusterView::State::take_snapshot(const Snapshot& snapshot) {
  const StoreHistory found{snapshot.cluster_id, snapshot.revision};
  const bool another = (history.cluster_id != 0 && found.cluster_id != history.cluster_id) || found.revision < history.revision;
  if (another) lost_history(found);
  history = found;
  std::map<std::string, const KeyValue*> now;
  for (const KeyValue& value : snapshot.values) now.emplace(value.key, &value);
  std::set<std::string> changed;
  for (const auto& [key, at] : keys) {
    if (!now.contains(key)) changed.insert(key);
  }
  for (const auto& [key, value] : now) {
    const auto known = keys.find(key);
    // In another store's history a revision may stand for another value.
    if (another || known == keys.end() || known->second != value->modified) changed.insert(key);
  }
  for (const std::string& key : changed) {
    const auto value = now.find(key);
    apply(key, value == now.end() ? nullptr : value->second);
  }
  const bool first = !std::exchange(has_snapshot, true);
  revision = snapshot.revision;
  watch_is_up = true;
  for (const std::string& key : changed) tell_change(key);
  tell([&](const ViewHandlers& to) {
    if (to.on_revision) to.on_revision(snapshot.revision);
  });
  if (!first) return;
  tell([](const ViewHandlers& to) {
    if (to.on_current) to.on_current();
  });
}

void ClusterView::State::take_changes(Revision at, const std::vector<Change>& changes) {
  for (const Change& change : changes) apply(change.key, change.value ? &*change.value : nullptr);
  revision = at;
  history.revision = at;
  std::set<std::string> changed;
  for (const Change& change : changes) changed.insert(change.key);
  for (const std::string& key : changed) tell_change(key);
  tell([&](const ViewHandlers& to) {
    if (to.on_revision) to.on_revision(at);
  });
}

void ClusterView::State::lost_history(const StoreHistory& now) {
  const StoreHistory before = std::exchange(history, now);
  log::error("the store is not the one that was known, or went back: cluster {:x} at revision {}, before that cluster {:x} at {}",
             now.cluster_id, now.revision, before.cluster_id, before.revision);
  tell([&](const ViewHandlers& to) {
    if (to.on_history_lost) to.on_history_lost(before, now);
  });
}

template <typename Map, typename Name, typename T>
void ClusterView::State::put(Map& map, Result<Name> name, const std::string& key, const KeyValue* value,
                             Result<T> (*decode)(std::string_view)) {
  if (name) map.erase(*name);
  if (value == nullptr) return;
  auto read = name ? decode(value->value) : Result<T>(fail(name.error()));
  if (read) {
    map.emplace(*name, Stored<T>{std::move(*read), value->modified, value->value});
  } else {
    problems.insert_or_assign(key, std::move(read.error()).context(std::format("'{}' in the store", key)));
  }
}

void ClusterView::State::apply(const std::string& key, const KeyValue* value) {
  problems.erase(key);
  if (value != nullptr) {
    keys.insert_or_assign(key, value->modified);
  } else {
    keys.erase(key);
  }
  const ParsedKey parsed = parse_key(key);
  switch (parsed.kind) {
    case KeyKind::kNode: put(nodes, NodeName::parse(parsed.rest), key, value, decode_node); break;
    case KeyKind::kSpec: put(specs, ContainerName::parse(parsed.rest), key, value, decode_spec); break;
    case KeyKind::kAddress: put(addresses, plain(parsed.rest), key, value, decode_claim); break;
    case KeyKind::kToken: put(tokens, plain(parsed.rest), key, value, decode_token); break;
    case KeyKind::kRevocation: put(revocations, NodeName::parse(parsed.rest), key, value, decode_revocation); break;
    case KeyKind::kRecord: {
      const auto name = ContainerName::parse(parsed.rest);
      if (name) records.erase(*name);
      if (value == nullptr) break;
      auto stored = read_record(*value);
      if (stored) {
        records.emplace(*name, std::move(*stored));
      } else {
        problems.insert_or_assign(key, std::move(stored.error()));
      }
      break;
    }
    case KeyKind::kCluster: {
      cluster.reset();
      if (value == nullptr) break;
      auto read = decode_cluster(value->value);
      if (read) {
        cluster = Stored<ClusterSettings>{std::move(*read), value->modified, value->value};
      } else {
        problems.insert_or_assign(key, std::move(read.error()).context("the cluster's settings in the store"));
      }
      break;
    }
    case KeyKind::kOther: break;  // of a newer version
  }
  if (const auto problem = problems.find(key); problem != problems.end()) log::warning("{}", problem->second.message());
}

void ClusterView::State::tell_change(const std::string& key) {
  const ParsedKey parsed = parse_key(key);
  const auto node = NodeName::parse(parsed.rest);
  const auto container = ContainerName::parse(parsed.rest);
  tell([&](const ViewHandlers& to) {
    switch (parsed.kind) {
      case KeyKind::kNode:
        if (to.on_node && node) to.on_node(*node);
        return;
      case KeyKind::kRecord:
      case KeyKind::kSpec:
        if (to.on_record && container) to.on_record(*container);
        return;
      case KeyKind::kRevocation:
        if (to.on_revocation && node) to.on_revocation(*node);
        return;
      case KeyKind::kCluster:
        if (to.on_cluster) to.on_cluster();
        return;
      case KeyKind::kToken:
        if (to.on_token) to.on_token();
        return;
      case KeyKind::kAddress:
      case KeyKind::kOther: return;
    }
  });
}

ClusterView::ClusterView(io::Loop& loop, Coordination& coordination, Options options)
    : state_(std::make_shared<State>(loop, coordination, options)) {}
ClusterView::ClusterView(io::Loop& loop, Coordination& coordination) : ClusterView(loop, coordination, Options{}) {}

ClusterView::~ClusterView() {
  state_->watch.reset();
  state_->subscribers.clear();
}

void ClusterView::start() {
  PERDURE_ASSERT(!state_->watch);
  state_->begin();
}

std::unique_ptr<Subscription> ClusterView::subscribe(ViewHandlers handlers) {
  const std::uint64_t id = state_->next_subscriber++;
  state_->subscribers.emplace(id, std::make_shared<const ViewHandlers>(std::move(handlers)));
  return std::make_unique<Subscriber>([weak = std::weak_ptr(state_), id] {
    if (const auto state = weak.lock()) state->subscribers.erase(id);
  });
}

bool ClusterView::current() const { return state_->has_snapshot && state_->watch_is_up; }
Revision ClusterView::revision() const { return state_->revision; }
StoreHistory ClusterView::history() const { return state_->history; }
const std::map<NodeName, Stored<model::NodeDescription>>& ClusterView::nodes() const { return state_->nodes; }
const std::map<ContainerName, StoredRecord>& ClusterView::records() const { return state_->records; }
const std::map<ContainerName, Stored<std::string>>& ClusterView::specs() const { return state_->specs; }
const std::map<std::string, Stored<AddressClaim>>& ClusterView::addresses() const { return state_->addresses; }
const std::map<std::string, Stored<StoredToken>>& ClusterView::tokens() const { return state_->tokens; }
const std::map<NodeName, Stored<Revocation>>& ClusterView::revocations() const { return state_->revocations; }
const std::optional<Stored<ClusterSettings>>& ClusterView::cluster() const { return state_->cluster; }
const std::map<std::string, Error>& ClusterView::problems() const { return state_->problems; }

const model::NodeDescription* ClusterView::node(const NodeName& name) const {
  const auto found = state_->nodes.find(name);
  return found == state_->nodes.end() ? nullptr : &found->second.value;
}

const StoredRecord* ClusterView::record(const ContainerName& name) const {
  const auto found = state_->records.find(name);
  return found == state_->records.end() ? nullptr : &found->second;
}

}  // namespace perdure::coord
