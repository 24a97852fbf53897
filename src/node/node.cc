#include "node/node.h"

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <format>

#include "base/log.h"
#include "io/atomic_file.h"
#include "io/process.h"
#include "io/when_all.h"
#include "model/spec_yaml.h"
#include "node/kept_capsules.h"
#include "replica/directory_store.h"
#include "replica/late_store.h"
#include "replica/succeeding_store.h"

namespace perdure::node {
namespace {

constexpr Term kOnlyTerm{1};  // one node: nobody else can take a container over

std::vector<std::string> addresses_of(const model::ContainerSpec& spec) {
  std::vector<std::string> addresses;
  if (spec.network.ipv4) addresses.push_back(model::to_string(spec.network.ipv4->address));
  if (spec.network.ipv6) addresses.push_back(model::to_string(spec.network.ipv6->address));
  return addresses;
}

}  // namespace

Node::Node(NodeOptions options) : options_(std::move(options)) {
  if (!options_.make_backend) {
    options_.make_backend = [](const HostServices& host, const model::ContainerSpec& spec,
                               const std::string& image_digest) {
      return std::make_shared<LinuxBackend>(host, spec, image_digest);
    };
  }
  watch_deaths();
}

Node::~Node() = default;

// ---- Deaths and orphans ----

void Node::watch_deaths() {
  auto signal = options_.loop.on_signal(SIGCHLD, [] { io::reap_orphans(); });
  if (signal) child_signal_ = *std::move(signal);
  network::ExitHook* hook = options_.host.exit_hook;
  if (hook == nullptr) return;
  auto watch = options_.loop.watch_readable(hook->event_fd(), [this] { read_deaths(); });
  if (watch) {
    deaths_watch_ = *std::move(watch);
  } else {
    log::error("deaths are noticed late: {}", watch.error().message());
  }
}

void Node::read_deaths() {
  while (const auto death = options_.host.exit_hook->next_death()) {
    for (const auto& [name, service] : services_) {
      if (service->backend().cgroup_id() != death->cgroup_id) continue;
      service->process_killed(*death);
    }
  }
}

// ---- Containers ----

ContainerService* Node::find(const ContainerName& name) {
  const auto found = services_.find(name);
  return found == services_.end() ? nullptr : found->second.get();
}

std::vector<ContainerService*> Node::containers() {
  std::vector<ContainerService*> all;
  for (const auto& [name, service] : services_) all.push_back(service.get());
  return all;
}

void Node::forget_removed() {
  std::erase_if(services_, [](const auto& entry) { return entry.second->removed(); });
}

Status Node::check_addresses(const model::ContainerSpec& spec) const {
  const std::vector<std::string> wanted = addresses_of(spec);
  for (const auto& [name, service] : services_) {
    if (name == spec.name) continue;
    for (const std::string& address : addresses_of(service->spec())) {
      if (std::ranges::find(wanted, address) != wanted.end()) {
        return fail(ErrorCode::kConflict,
                    std::format("address {} belongs to container '{}'; give '{}' another one, or remove "
                                "'{}' first",
                                address, name.str(), spec.name.str(), name.str()));
      }
    }
  }
  return {};
}

replica::StoreOpener Node::own_store(const ContainerName& name) {
  replica::DirectoryStoreOptions options;
  options.directory = ContainerPaths(options_.host.paths, name).capsules;
  options.container = name.str();
  const std::shared_ptr<replica::FileSystem> files = cluster_ != nullptr ? cluster_->file_system() : file_system_;
  return [options, files]() -> Result<std::unique_ptr<replica::CapsuleStore>> {
    return replica::DirectoryStore::open(options, files);
  };
}

// Opens the directory of all nodes, and puts aside before what is there of another container.
replica::StoreOpener Node::shared_store(SharedStore shared, Term first) const {
  return [shared = std::move(shared), first, now = options_.clock.wall()]() -> Result<std::unique_ptr<replica::CapsuleStore>> {
    if (first > Term{}) PERDURE_TRY(shared.set_aside(first, now));
    return shared.open();
  };
}

// This node's own directory is opened at once: what is wrong with it is told to who wants the container. The shared one
// may hang.
Result<std::shared_ptr<replica::CapsuleStore>> Node::open_store(const ContainerName& name, const ContainerRecord& record,
                                                                Origin origin) {
  auto open_own = own_store(name);
  std::optional<SharedStore> shared;
  // What was here before the cluster goes there when it has been claimed: change_store().
  const bool is_claimed = origin == Origin::kNew || record.in_cluster();
  const std::string own_directory = ContainerPaths(options_.host.paths, name).capsules;
  // Generations of another container of that name, kept when it was removed: the numbers of this one begin anew.
  if (origin == Origin::kNew) PERDURE_TRY(set_aside(own_directory, options_.clock.wall()));
  if (cluster_ != nullptr && cluster_->member() && is_claimed) shared = cluster_->shared_store(name, record.term);
  if (!shared) return open_own();
  auto open = shared_store(*std::move(shared), record.first_term);
  if (origin == Origin::kNew || !std::filesystem::exists(own_directory)) return std::make_shared<replica::LateStore>(std::move(open));
  // What was stored here before there was the cluster, or its directory.
  return std::make_shared<replica::LateStore>(
      [open = std::move(open), open_own = std::move(open_own)]() -> Result<std::unique_ptr<replica::CapsuleStore>> {
        PERDURE_ASSIGN(std::shared_ptr<replica::CapsuleStore> store, open());
        PERDURE_ASSIGN(std::shared_ptr<replica::CapsuleStore> former, open_own());
        return std::make_unique<replica::SucceedingStore>(std::move(store), std::move(former));
      });
}

void Node::change_store(ContainerService& service) {
  const ContainerName& name = service.spec().name;
  std::optional<SharedStore> shared;
  if (cluster_ != nullptr && cluster_->member()) shared = cluster_->shared_store(name, service.record().term);
  if (!shared) return service.change_store(std::make_shared<replica::LateStore>(own_store(name)));
  service.begins_with(service.record().term);
  service.change_store(std::make_shared<replica::SucceedingStore>(
      std::make_shared<replica::LateStore>(shared_store(*std::move(shared), service.record().first_term)), service.shared_store()));
}

Result<std::unique_ptr<ContainerService>> Node::make_service(model::ContainerSpec spec, ContainerRecord record, Origin origin,
                                                             std::shared_ptr<ContainerBackend> backend) {
  const ContainerPaths paths(options_.host.paths, spec.name);
  const Term term = record.term > kOnlyTerm ? record.term : kOnlyTerm;
  PERDURE_ASSIGN(auto store, open_store(spec.name, record, origin));
  if (!backend) backend = options_.make_backend(options_.host, spec, record.image_digest);
  ServiceEnvironment environment{.loop = options_.loop,
                                 .pool = options_.pool,
                                 .store_pool = options_.store_pool,
                                 .clock = options_.clock,
                                 .events = options_.events,
                                 .term = term,
                                 .incarnation = options_.identity.incarnation,
                                 .cluster = cluster_,
                                 .store_patience = options_.store_patience,
                                 .on_captured = options_.on_captured};
  return std::make_unique<ContainerService>(environment, std::move(spec), paths, std::move(backend), std::move(store),
                                            std::move(record));
}

// The specification last: with it a perdured that is started again takes the container for one that it knows, and without a record
// for a new one that is to be started afresh.
Status Node::make_home(const model::ContainerSpec& spec, const ContainerRecord& record) const {
  const ContainerPaths paths(options_.host.paths, spec.name);
  PERDURE_TRY(io::make_directories(paths.home, 0700));
  PERDURE_TRY(io::write_file_atomically(paths.state(), to_json(record), 0600));
  return io::write_file_atomically(paths.spec(), model::to_yaml(spec), 0600);
}

Result<ContainerService*> Node::take_in(Arrived& arrived) {
  PERDURE_TRY(make_home(arrived.spec, arrived.record));
  PERDURE_ASSIGN(auto service, make_service(arrived.spec, arrived.record, Origin::kKnown, arrived.backend));
  ContainerService* raw = adopt(std::move(service));
  if (arrived.arrival) {
    raw->begin_arrived(*std::move(arrived.arrival));
  } else {
    raw->begin_seized({.found = {}, .recovered = {}, .elsewhere = std::move(arrived.elsewhere)});
  }
  return raw;
}

Result<std::unique_ptr<ContainerService>> Node::make_new(model::ContainerSpec spec,
                                                         policy::PersistentState state) {
  const ContainerPaths paths(options_.host.paths, spec.name);
  PERDURE_TRY(io::make_directories(paths.home, 0700));
  PERDURE_TRY(io::write_file_atomically(paths.spec(), model::to_yaml(spec), 0600));
  ContainerRecord record;
  record.state = std::move(state);
  record.created = options_.clock.wall();
  if (cluster_ != nullptr) record.first_term = cluster_->claimed(spec.name);
  return make_service(std::move(spec), std::move(record), Origin::kNew);
}

ContainerService* Node::adopt(std::unique_ptr<ContainerService> service) {
  ContainerService* raw = service.get();
  services_[raw->spec().name] = std::move(service);
  raw->add_listener([this, raw, token = lifetime_.token()] {
    if (!raw->removed()) return;
    // Later: whoever waits for the removal is told in this same round.
    options_.loop.post([this, token] {
      if (token.alive()) forget_removed();
    });
    if (cluster_ != nullptr) cluster_->detached(raw->spec().name, raw->left());
  });
  return raw;
}

Status Node::check_new(const model::ContainerSpec& spec) const {
  if (services_.contains(spec.name)) {
    return fail(ErrorCode::kExists,
                std::format("container '{}' exists already; 'perdure start {}' starts it, 'perdure rm {}' "
                            "removes it",
                            spec.name.str(), spec.name.str(), spec.name.str()));
  }
  return check_addresses(spec);
}

Result<ContainerService*> Node::create(model::ContainerSpec spec) {
  PERDURE_TRY(check_new(spec));
  PERDURE_ASSIGN(auto service, make_new(std::move(spec), {}));
  ContainerService* raw = adopt(std::move(service));
  if (cluster_ != nullptr) cluster_->attach(*raw);
  raw->begin_new();
  return raw;
}

void Node::import(capsule::CapsuleRef capsule, std::optional<ContainerName> name,
                  std::function<void(Result<ContainerService*>)> done) {
  const auto read = [&]() -> Result<model::ContainerSpec> {
    PERDURE_ASSIGN(model::ContainerSpec spec,
                   model::read_spec(capsule->manifest.spec_yaml, "specification in the archive"));
    if (name) spec.name = *name;
    if (find(spec.name) != nullptr) {
      return fail(ErrorCode::kExists,
                  std::format("container '{}' exists already; import it under another name with --name",
                              spec.name.str()));
    }
    PERDURE_TRY(check_addresses(spec));
    return spec;
  };
  auto spec = read();
  if (!spec) return done(fail(std::move(spec).error()));
  if (cluster_ == nullptr || !cluster_->member()) return import_as(std::move(capsule), *std::move(spec), std::move(done));
  cluster_->claim(*spec, model::DesiredState::kStopped,
                  [this, token = lifetime_.token(), capsule = std::move(capsule), spec = *spec,
                   done = std::move(done)](Status claimed) mutable {
                    if (!token.alive()) return;
                    if (!claimed) return done(fail(std::move(claimed).error()));
                    import_as(std::move(capsule), std::move(spec), std::move(done));
                  });
}

void Node::import_as(capsule::CapsuleRef capsule, model::ContainerSpec spec,
                     std::function<void(Result<ContainerService*>)> done) {
  policy::PersistentState state;
  state.desired = policy::DesiredState::kStopped;
  state.begun = true;
  const ContainerName wanted = spec.name;
  const auto failed = [this, wanted, done](Error error) {
    services_.erase(wanted);
    if (cluster_ != nullptr) cluster_->disclaim(wanted);
    done(fail(std::move(error)));
  };
  auto service = make_new(std::move(spec), std::move(state));
  if (!service) return failed(std::move(service).error());
  ContainerService* raw = adopt(*std::move(service));
  // Before anything is stored: a restart must find a container that is stopped, not one that has never begun.
  raw->will_be_stopped();
  auto work = [store = raw->shared_store(), capsule, container = raw->spec().name.str(),
               generation = Generation{std::max(kOnlyTerm, raw->record().first_term), options_.identity.incarnation, 1}]()
      -> Result<std::vector<replica::StoredGeneration>> {
    capsule::Capsule copy = *capsule;
    copy.manifest.container = container;
    copy.manifest.generation = generation;
    copy.manifest.parent.reset();
    copy.manifest.parent_digest.reset();
    PERDURE_ASSIGN(const auto encoded, capsule::encode(copy, nullptr, nullptr, {}));
    PERDURE_TRY(store->put(encoded));
    return store->list();
  };
  auto finish = [this, wanted, done, failed](Result<std::vector<replica::StoredGeneration>> stored) {
    ContainerService* imported = find(wanted);
    if (imported == nullptr) {
      return done(fail(ErrorCode::kCancelled, "the container was removed while it was imported"));
    }
    if (!stored) return failed(std::move(stored).error());
    imported->begin_stopped(*stored);
    if (cluster_ != nullptr) cluster_->attach(*imported);
    done(imported);
  };
  if (Status submitted = options_.store_pool.submit(options_.loop, lifetime_, std::move(work), std::move(finish));
      !submitted) {
    failed(std::move(submitted).error());
  }
}

// ---- After a restart of the daemon ----

Result<std::unique_ptr<ContainerService>> Node::read_service(const std::string& directory) {
  PERDURE_ASSIGN(model::ContainerSpec spec, model::read_spec_file(directory + "/spec.yaml"));
  if (std::filesystem::path(directory).filename() != spec.name.str()) {
    return fail(ErrorCode::kCorrupt,
                std::format("'{}' holds the specification of '{}'", directory, spec.name.str()));
  }
  ContainerRecord record;
  const std::string state_path = directory + "/state.json";
  if (const auto text = read_file(state_path)) {
    PERDURE_ASSIGN(record, record_from_json(*text, state_path));
  } else if (text.error().code() != ErrorCode::kNotFound) {
    return fail(text.error());
  }
  return make_service(std::move(spec), std::move(record), Origin::kKnown);
}

void Node::report_unreadable(const std::string& directory, const Error& error) {
  control::v1::Event event;
  event.set_severity(control::v1::SEVERITY_ERROR);
  event.set_container(std::filesystem::path(directory).filename().string());
  event.set_kind("unreadable");
  event.set_text(std::format("'{}' cannot be read; the container is left as it is. Mend the file and restart "
                             "perdured, or remove the directory",
                             directory));
  event.set_reason(error.message());
  options_.events.append(std::move(event));
  log::error("{}: {}", directory, error.message());
}

void Node::recover(std::function<void()> done) {
  std::vector<std::string> directories;
  std::error_code error;
  for (const auto& entry :
       std::filesystem::directory_iterator(options_.host.paths.containers(), error)) {
    if (entry.is_directory()) directories.push_back(entry.path().string());
  }
  std::ranges::sort(directories);
  io::WhenAll looks(std::move(done));
  for (const std::string& directory : directories) {
    if (!std::filesystem::exists(directory + "/spec.yaml")) continue;  // a creation that never began
    auto service = read_service(directory);
    if (!service) {
      report_unreadable(directory, service.error());
      continue;
    }
    ContainerService* raw = adopt(*std::move(service));
    if (cluster_ != nullptr) cluster_->attach_recovered(*raw);
    ContainerService::Recovery recovery;
    recovery.found = looks.begin();
    if (cluster_ != nullptr) {
      recovery.recovered = [this, raw] { cluster_->recovered(*raw); };
      if (cluster_->member()) {
        recovery.elsewhere = [this, raw](std::function<void(HeldElsewhere)> found) {
          cluster_->find_elsewhere(raw->spec().name, raw->record().term, std::move(found));
        };
      }
    }
    raw->begin_after_restart(std::move(recovery));
  }
  looks.all_begun();
}

}  // namespace perdure::node
