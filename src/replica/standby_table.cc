#include "replica/standby_table.h"

#include <algorithm>
#include <chrono>
#include <format>
#include <ranges>
#include <utility>

#include "base/log.h"
#include "capsule/format/seal.h"
#include "replica/standby_container.h"

namespace perdure::replica {
namespace {

// A turn is a decoding or a write to a local disk. Reached only when a disk hangs.
constexpr Duration kTurnTime = std::chrono::seconds(60);
// Restores and removals are not many and must not be refused for the number of those who wait.
constexpr std::size_t kAnyNumber = 1024;

std::unexpected<Error> not_held(const ContainerName& container, const Generation& generation) {
  return fail(ErrorCode::kNotFound, std::format("generation {} of '{}': not held on this node",
                                                to_string(generation), container.str()));
}

}  // namespace

Result<StandbyTable::Turn::Pass> StandbyTable::Turn::take(std::size_t limit) {
  std::unique_lock lock(mutex_);
  if (line_.size() > limit) {
    return fail(ErrorCode::kTimeout, std::format("{} calls wait already", line_.size() - 1));
  }
  const std::uint64_t mine = next_++;
  line_.push_back(mine);
  if (moved_.wait_for(lock, kTurnTime, [&] { return line_.front() == mine; })) return Pass(*this);
  std::erase(line_, mine);
  return fail(ErrorCode::kTimeout,
              std::format("the call before it did not end within {}; is the disk "
                          "of the spilled capsules in order?",
                          format_duration(kTurnTime)));
}

void StandbyTable::Turn::leave() {
  {
    const std::scoped_lock guard(mutex_);
    line_.pop_front();
  }
  moved_.notify_all();
}

StandbyTable::StandbyTable(StandbyTableOptions options) : options_(std::move(options)) {}
StandbyTable::~StandbyTable() = default;

std::shared_ptr<StandbyTable::Container> StandbyTable::at(const ContainerName& container) {
  auto& found = containers_[container];
  if (found == nullptr) found = std::make_shared<Container>();
  return found;
}

Status StandbyTable::check_term(const ContainerName& container, Container& known, Term term) {
  if (term < known.term) {
    ++fenced_;
    return fail(ErrorCode::kFenced,
                std::format("container '{}': term {} is over, this node knows term {}",
                            container.str(), term.value, known.term.value));
  }
  known.term = term;
  return {};
}

void StandbyTable::note_changes(Container& container, const HeldGenerations& before) {
  for (const auto& [generation, was] : before.all()) {
    if (!was.stored) continue;
    const HeldGeneration* now = container.held.find(generation);
    if (now == nullptr || now->provisional != was.provisional) container.disk_dirty = true;
  }
  const Bytes now = container.held.memory();
  memory_.count += now.count - container.memory.count;
  container.memory = now;
}

void StandbyTable::raise_term(const ContainerName& container, Term term) {
  const std::scoped_lock guard(mutex_);
  const auto known = at(container);
  known->term = std::max(known->term, term);
}

Term StandbyTable::term_of(const ContainerName& container) const {
  const std::scoped_lock guard(mutex_);
  const auto found = containers_.find(container);
  return found == containers_.end() ? Term{} : found->second->term;
}

void StandbyTable::count_fenced() {
  const std::lock_guard lock(mutex_);
  ++fenced_;
}

std::uint64_t StandbyTable::fenced() const {
  const std::scoped_lock guard(mutex_);
  return fenced_;
}

Bytes StandbyTable::memory() const {
  const std::scoped_lock guard(mutex_);
  return memory_;
}

// The capsules that go are freed after the lock.
Status StandbyTable::commit(const ContainerName& container, Term term,
                            const Generation& generation) {
  HeldGenerations before;
  const std::scoped_lock guard(mutex_);
  const auto known = at(container);
  PERDURE_TRY(check_term(container, *known, term));
  if (generation.term > term) {
    return fail(ErrorCode::kInvalid,
                std::format("container '{}': commit of {} in term {}", container.str(),
                            to_string(generation), term.value));
  }
  before = known->held;
  const bool held = known->held.commit(generation);
  note_changes(*known, before);
  if (!held) return not_held(container, generation);
  return {};
}

Status StandbyTable::discard(const ContainerName& container, Term term,
                             const std::vector<Generation>& generations) {
  HeldGenerations before;
  const std::scoped_lock guard(mutex_);
  const auto known = at(container);
  PERDURE_TRY(check_term(container, *known, term));
  before = known->held;
  known->held.discard(generations);
  note_changes(*known, before);
  return {};
}

Status StandbyTable::drop(const ContainerName& container, Term term) {
  std::shared_ptr<Container> known;
  {
    const std::scoped_lock guard(mutex_);
    known = at(container);
  }
  PERDURE_ASSIGN(const Turn::Pass pass, known->turn.take(kAnyNumber));
  HeldGenerations gone;
  {
    const std::scoped_lock guard(mutex_);
    PERDURE_TRY(check_term(container, *known, term));
    std::swap(gone, known->held);
    note_changes(*known, gone);
  }
  known->spill.reset();
  if (!options_.remove_store) return {};
  Status removed = options_.remove_store(container);
  if (!removed && removed.error().code() != ErrorCode::kNotFound) {
    return fail(std::move(removed).error().context(
        std::format("remove what is spilled of '{}'", container.str())));
  }
  return {};
}

std::optional<HeldContainer> StandbyTable::find(const ContainerName& container) const {
  const std::scoped_lock guard(mutex_);
  const auto found = containers_.find(container);
  if (found == containers_.end() || found->second->held.empty()) return std::nullopt;
  const HeldGenerations& held = found->second->held;
  HeldContainer result{container,    found->second->term, held.newest()->holding,
                       std::nullopt, held.all().size(),   found->second->memory,
                       held.disk()};
  if (const HeldGeneration* committed = held.newest_committed()) {
    result.newest_committed = committed->holding.generation;
  }
  return result;
}

std::vector<HeldContainer> StandbyTable::all() const {
  std::vector<ContainerName> names;
  {
    const std::scoped_lock guard(mutex_);
    for (const auto& [name, container] : containers_) names.push_back(name);
  }
  std::vector<HeldContainer> result;
  for (const ContainerName& name : names) {
    if (auto held = find(name)) result.push_back(std::move(*held));
  }
  return result;
}

// The disk. Whoever calls these has the container's turn.

Status StandbyTable::open_spill(const ContainerName& name, Container& container) {
  if (container.spill) return {};
  if (!options_.open_store) {
    return fail(ErrorCode::kNotFound, "nothing is spilled to disk on this node");
  }
  PERDURE_ASSIGN(auto store, options_.open_store(name));
  container.spill.emplace(std::shared_ptr<CapsuleStore>(std::move(store)));
  const std::scoped_lock guard(mutex_);
  container.disk_dirty = true;
  return {};
}

Status StandbyTable::tidy_in_turn(Container& container) {
  HeldGenerations held;
  {
    const std::scoped_lock guard(mutex_);
    if (!container.spill || !container.disk_dirty) return {};
    container.disk_dirty = false;
    held = container.held;
  }
  Status tidied = container.spill->tidy(held);
  if (!tidied) {
    const std::scoped_lock guard(mutex_);
    container.disk_dirty = true;
  }
  return tidied;
}

Status StandbyTable::tidy(const ContainerName& container) {
  std::shared_ptr<Container> known;
  {
    const std::scoped_lock guard(mutex_);
    const auto found = containers_.find(container);
    if (found == containers_.end()) return {};
    known = found->second;
  }
  PERDURE_ASSIGN(const Turn::Pass pass, known->turn.take(kAnyNumber));
  return tidy_in_turn(*known);
}

Status StandbyTable::adopt(const ContainerName& container) {
  std::shared_ptr<Container> known;
  {
    const std::scoped_lock guard(mutex_);
    known = at(container);
  }
  PERDURE_ASSIGN(const Turn::Pass pass, known->turn.take(kAnyNumber));
  {
    const std::scoped_lock guard(mutex_);
    if (!known->held.empty()) return {};
  }
  PERDURE_TRY(open_spill(container, *known));
  PERDURE_ASSIGN(std::vector<HeldGeneration> stored, known->spill->list());
  const std::scoped_lock guard(mutex_);
  for (HeldGeneration& one : stored) {
    known->term = std::max(known->term, one.holding.generation.term);
    known->held.add(std::move(one), std::nullopt);
  }
  return {};
}

// Restoring

Result<capsule::CapsuleRef> StandbyTable::load(const ContainerName& name, Container& container,
                                               const Generation& generation) {
  PERDURE_ASSIGN(const Turn::Pass pass, container.turn.take(kAnyNumber));
  HeldGeneration held;
  {
    const std::scoped_lock guard(mutex_);
    const HeldGeneration* found = container.held.find(generation);
    if (found == nullptr) return not_held(name, generation);
    held = *found;
  }
  if (held.capsule != nullptr) return held.capsule;
  PERDURE_TRY(open_spill(name, container));
  PERDURE_ASSIGN(capsule::CapsuleRef capsule, container.spill->load(held));
  keep_if_it_fits(container, generation, capsule);
  return capsule;
}

Bytes StandbyTable::room_for(const Container& container) const {
  const std::uint64_t others = memory_.count - container.memory.count;
  const std::uint64_t budget = options_.memory_budget.count;
  return Bytes{budget > others ? budget - others : 0};
}

void StandbyTable::keep_if_it_fits(Container& container, const Generation& generation,
                                   const capsule::CapsuleRef& capsule) {
  const auto seal = std::make_shared<const capsule::Seal>(capsule::seal_of(*capsule, nullptr, nullptr));
  const std::scoped_lock guard(mutex_);
  HeldGenerations with = container.held;
  with.loaded(generation, capsule, seal);
  if (with.memory() > room_for(container)) return;
  std::swap(container.held, with);
  note_changes(container, with);
}

Result<capsule::CapsuleRef> StandbyTable::fetch(const ContainerName& container,
                                                std::optional<Generation> generation) {
  std::shared_ptr<Container> known;
  std::vector<HeldGeneration> candidates;
  std::optional<Generation> floor;
  {
    const std::scoped_lock guard(mutex_);
    const auto found = containers_.find(container);
    if (found == containers_.end() || found->second->held.empty()) {
      return fail(
          ErrorCode::kNotFound,
          std::format("container '{}': nothing of it is held on this node", container.str()));
    }
    known = found->second;
    floor = known->held.floor();
    if (!generation) {
      candidates = known->held.restorable();
    } else if (const HeldGeneration* held = known->held.find(*generation)) {
      candidates.push_back(*held);
    } else {
      return not_held(container, *generation);
    }
  }
  std::string reasons;
  for (const HeldGeneration& one : candidates) {
    if (one.capsule != nullptr) return one.capsule;
    auto loaded = load(container, *known, one.holding.generation);
    if (loaded) return loaded;
    // An older one would meet the same want.
    if (loaded.error().code() != ErrorCode::kCorrupt || generation) return loaded;
    log::warning("{}: {}", container.str(), loaded.error().message());
    reasons += "; " + loaded.error().message();
  }
  return fail(
      ErrorCode::kCorrupt,
      std::format("container '{}': no generation held here can be restored{}{}", container.str(),
                  floor ? std::format(" without going back behind {}, which is committed",
                                      to_string(*floor))
                        : std::string(),
                  reasons));
}

Status StandbyTable::check(const ContainerName& container, const Generation& generation) {
  std::shared_ptr<Container> known;
  HeldGeneration held;
  {
    const std::scoped_lock guard(mutex_);
    const auto found = containers_.find(container);
    if (found == containers_.end()) return {};
    known = found->second;
    const HeldGeneration* there = known->held.find(generation);
    if (there == nullptr || there->capsule == nullptr) return {};
    held = *there;
  }
  Status checked = capsule::check_seal(*held.capsule, *held.seal);
  if (checked) return {};
  HeldGenerations before;  // freed after the lock
  {
    const std::scoped_lock guard(mutex_);
    before = known->held;
    known->held.spoilt(held.holding, held.capsule);
    note_changes(*known, before);
  }
  return fail(std::move(checked).error().context(
      std::format("generation {} of '{}' in this node's memory", to_string(generation), container.str())));
}

Result<capsule::CapsuleRef> StandbyTable::fetch_checked(const ContainerName& container, std::optional<Generation> generation) {
  // What does not hold is gone, or comes from the disk, the next time.
  for (std::size_t tries = 0;; ++tries) {
    PERDURE_ASSIGN(capsule::CapsuleRef capsule, fetch(container, generation));
    Status checked = check(container, capsule->manifest.generation);
    if (checked) return capsule;
    log::error("{}", checked.error().message());
    if (tries == options_.max_generations) return fail(std::move(checked).error());
  }
}

Result<std::vector<capsule::CapsuleRef>> StandbyTable::fetch_any(const ContainerName& container) {
  std::vector<Generation> generations;
  {
    const std::scoped_lock guard(mutex_);
    if (const auto found = containers_.find(container); found != containers_.end()) {
      for (const auto& [generation, held] : found->second->held.all()) {
        if (!held.provisional) generations.push_back(generation);
      }
    }
  }
  Error last(ErrorCode::kNotFound, std::format("container '{}': nothing of it is held on this node", container.str()));
  std::vector<capsule::CapsuleRef> all;
  for (const Generation& generation : generations | std::views::reverse) {
    auto fetched = fetch_checked(container, generation);
    if (fetched) all.push_back(*std::move(fetched));
    else last = fetched.error();
  }
  if (all.empty()) return fail(std::move(last));
  return all;
}

std::vector<Generation> StandbyTable::restorable(const ContainerName& container) const {
  const std::scoped_lock guard(mutex_);
  std::vector<Generation> generations;
  const auto found = containers_.find(container);
  if (found == containers_.end()) return generations;
  for (const HeldGeneration& held : found->second->held.restorable()) generations.push_back(held.holding.generation);
  std::ranges::reverse(generations);
  return generations;
}

}  // namespace perdure::replica
