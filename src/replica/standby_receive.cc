// StandbyTable::receive(): a generation comes in.
#include <algorithm>
#include <cstring>
#include <format>
#include <utility>

#include "base/log.h"
#include "capsule/format/codec.h"
#include "capsule/format/seal.h"
#include "capsule/format/sharing.h"
#include "replica/standby_container.h"

namespace perdure::replica {
namespace {

// What is on disk comes back only when that leaves an eighth of the budget free: not to and fro
// with every generation.
constexpr std::uint64_t kReturnReserve = 8;
constexpr std::size_t kNamedInRefusal = 3;

std::string name_of(const ReceivedCapsule& received) {
  return std::format("generation {} of '{}'", to_string(received.generation),
                     received.container.str());
}

Status check_header(const ReceivedCapsule& received, Bytes content_limit) {
  PERDURE_ASSIGN(const capsule::CapsuleInfo info, capsule::read_info(received.bytes->bytes()));
  const capsule::Manifest& manifest = info.manifest;
  const bool same_base = received.base ? manifest.parent == received.base->generation &&
                                             manifest.parent_digest == received.base->digest
                                       : !manifest.parent.has_value();
  if (manifest.container != received.container.str() ||
      manifest.generation != received.generation || !same_base) {
    return fail(
        ErrorCode::kInvalid,
        std::format("the capsule says that it is {} of '{}'{}", to_string(manifest.generation),
                    manifest.container,
                    manifest.parent ? std::format(", built on {}", to_string(*manifest.parent))
                                    : ", complete in itself"));
  }
  if (info.content_bytes > content_limit.count) {
    return fail(ErrorCode::kNoSpace,
                std::format("its content is {}, at most {} of one capsule are taken",
                            format_bytes(Bytes{info.content_bytes}), format_bytes(content_limit)));
  }
  return {};
}

// The same capsule in memory of its own, without pages in mapped files.
Result<capsule::CapsuleRef> detached(const capsule::CapsuleRef& capsule) {
  capsule::CodecOptions options;
  options.compression = capsule::Compression::kNone;
  PERDURE_ASSIGN(const auto encoded, capsule::encode(*capsule, nullptr, nullptr, options));
  PERDURE_ASSIGN(const auto slab,
                 capsule::Slab::allocate(encoded.size_bytes, capsule::Slab::Prefault::kNo));
  std::byte* to = slab->writable().data();
  for (const auto piece : encoded.pieces) {
    if (!piece.empty()) std::memcpy(to, piece.data(), piece.size());
    to += piece.size();
  }
  PERDURE_ASSIGN(capsule::Capsule copy, capsule::decode(slab, nullptr, nullptr));
  return std::make_shared<const capsule::Capsule>(std::move(copy));
}

}  // namespace

Result<HoldReceipt> StandbyTable::receive(const ReceivedCapsule& received) {
  const Instant begun = BootClock::now();
  std::shared_ptr<Container> container;
  const auto held = [&]() -> Result<HoldReceipt> {
    {
      const std::scoped_lock guard(mutex_);
      container = at(received.container);
      PERDURE_TRY(check_term(received.container, *container, received.term));
    }
    if (received.bytes == nullptr || received.generation.term > received.term) {
      return fail(ErrorCode::kInvalid, "no bytes, or of a later term than its sender's");
    }
    PERDURE_ASSIGN(const Turn::Pass pass, container->turn.take(kMaxWaitingReceives));
    return receive_in_turn(received, *container);
  };
  auto receipt = held();
  if (!receipt) {
    // To the sender kTransient is a node that cannot be reached.
    const ErrorCode code = receipt.error().code();
    return fail(
        Error(code == ErrorCode::kTransient ? ErrorCode::kIo : code, receipt.error().message())
            .context("hold " + name_of(received)));
  }
  receipt->took = BootClock::now() - begun;
  log::debug("{}: held within {}", name_of(received), format_duration(receipt->took));
  return receipt;
}

Status StandbyTable::hold(const ContainerName& name, Term term, const Holding& holding,
                          capsule::CapsuleRef capsule) {
  ReceivedCapsule received{.container = name,
                           .term = term,
                           .generation = holding.generation,
                           .base = {},
                           .committed = holding.generation,
                           .provisional = false,
                           .bytes = {}};
  std::shared_ptr<Container> container;
  {
    const std::scoped_lock guard(mutex_);
    container = at(name);
    PERDURE_TRY(check_term(name, *container, term));
  }
  PERDURE_ASSIGN(const Turn::Pass pass, container->turn.take(kMaxWaitingReceives));
  Newcomer newcomer;
  PERDURE_ASSIGN(const std::optional<HoldReceipt> there, look_up(received, *container, newcomer));
  if (there) return {};
  newcomer.held.holding = holding;
  newcomer.held.seal = std::make_shared<const capsule::Seal>(capsule::seal_of(*capsule, nullptr, nullptr));
  newcomer.held.capsule = std::move(capsule);
  const Bytes needed = capsule::full_size(*newcomer.held.capsule);
  PERDURE_ASSIGN(const bool fits, hold_in_memory(received, *container, newcomer));
  return fits ? Status{} : Status(fail(no_space(received, needed)));
}

Result<HoldReceipt> StandbyTable::receive_in_turn(const ReceivedCapsule& received,
                                                  Container& container) {
  Newcomer newcomer;
  PERDURE_ASSIGN(std::optional<HoldReceipt> receipt, look_up(received, container, newcomer));
  if (!receipt) {
    PERDURE_TRY(decode(received, container, newcomer));
    PERDURE_ASSIGN(bool in_memory, hold_in_memory(received, container, newcomer));
    if (!in_memory) {  // perhaps it does in less memory
      PERDURE_ASSIGN(auto compacted, capsule::compact(*newcomer.held.capsule));
      if (compacted.slabs_released > 0) {
        newcomer.held.capsule = std::make_shared<const capsule::Capsule>(std::move(compacted.capsule));
        PERDURE_ASSIGN(in_memory, hold_in_memory(received, container, newcomer));
      }
    }
    if (!in_memory) PERDURE_TRY(hold_on_disk(received, container, newcomer));
    const std::scoped_lock guard(mutex_);
    receipt = HoldReceipt{newcomer.held.holding, container.memory, !in_memory, {}};
  }
  // Nothing that was promised depends on it: it is tried again.
  if (Status tidied = tidy_in_turn(container); !tidied) {
    log::warning("{}: spilled capsules: {}", received.container.str(), tidied.error().message());
  }
  return *receipt;
}

Status StandbyTable::compact(const ContainerName& name) {
  std::shared_ptr<Container> container;
  {
    const std::scoped_lock guard(mutex_);
    container = at(name);
  }
  PERDURE_ASSIGN(const Turn::Pass pass, container->turn.take(kMaxWaitingReceives));
  HeldGeneration newest;
  {
    const std::scoped_lock guard(mutex_);
    const HeldGeneration* held = container->held.newest();
    if (held == nullptr || held->capsule == nullptr) return {};
    newest = *held;
  }
  PERDURE_ASSIGN(auto compacted, capsule::compact(*newest.capsule));
  if (compacted.slabs_released == 0) return {};
  const auto smaller = std::make_shared<const capsule::Capsule>(std::move(compacted.capsule));
  HeldGenerations before;  // freed after the lock
  const std::scoped_lock guard(mutex_);
  before = container->held;
  container->held.in_other_memory(newest.holding, smaller);
  note_changes(*container, before);
  return {};
}

// A receipt if there is nothing to do; else what the newcomer builds on.
Result<std::optional<HoldReceipt>> StandbyTable::look_up(const ReceivedCapsule& received,
                                                         Container& container, Newcomer& newcomer) {
  HeldGenerations before;  // freed after the lock
  const std::scoped_lock guard(mutex_);
  PERDURE_TRY(check_term(received.container, container, received.term));
  if (const HeldGeneration* held = container.held.find(received.generation)) {
    before = container.held;
    const Holding holding = held->holding;
    const bool on_disk = held->capsule == nullptr;
    if (!received.provisional) container.held.confirm(received.generation);
    if (received.committed) container.held.commit(*received.committed);
    note_changes(container, before);
    return HoldReceipt{holding, container.memory, on_disk, {}};
  }
  PERDURE_TRY(container.held.admit(received.generation, options_.max_generations));
  if (received.base) {
    const HeldGeneration* base = container.held.find(*received.base);
    if (base == nullptr) {
      return fail(ErrorCode::kNotFound, std::format("its base {} ({}) is not held: send it in full",
                                                    to_string(received.base->generation),
                                                    to_string(received.base->digest)));
    }
    newcomer.base = *base;
  }
  return std::nullopt;
}

Status StandbyTable::decode(const ReceivedCapsule& received, Container& container,
                            Newcomer& newcomer) {
  PERDURE_TRY(check_header(received, options_.content_limit));
  std::optional<HeldGeneration>& base = newcomer.base;
  if (base && base->capsule == nullptr) {
    PERDURE_TRY(open_spill(received.container, container));
    auto loaded = container.spill->load(*base);
    if (!loaded && loaded.error().code() == ErrorCode::kCorrupt) {
      return fail(ErrorCode::kNotFound, std::format("its base is damaged, send it in full: {}",
                                                    loaded.error().message()));
    }
    if (!loaded) return fail(std::move(loaded).error());
    base->seal = std::make_shared<const capsule::Seal>(capsule::seal_of(**loaded, nullptr, nullptr));
    base->capsule = std::move(*loaded);
    newcomer.base_from_disk = true;
  }
  capsule::DecodeOptions options;
  options.content_limit_bytes = options_.content_limit.count;
  PERDURE_ASSIGN(capsule::Capsule decoded,
                 capsule::decode(received.bytes, base ? base->capsule.get() : nullptr,
                                 base ? &base->holding.digest : nullptr, options));
  PERDURE_ASSIGN(const capsule::CapsuleInfo info, capsule::read_info(received.bytes->bytes()));
  newcomer.held.holding = {received.generation, info.digest};
  const bool delta = decoded.manifest.parent.has_value();
  newcomer.held.seal = std::make_shared<const capsule::Seal>(
      capsule::seal_of(decoded, delta ? base->capsule.get() : nullptr, delta ? base->seal.get() : nullptr));
  newcomer.held.capsule = std::make_shared<const capsule::Capsule>(std::move(decoded));
  newcomer.held.provisional = received.provisional;
  return {};
}

// With the lock held.
void StandbyTable::take_in(const ReceivedCapsule& received, Container& container,
                           const Newcomer& newcomer) {
  const HeldGenerations before = container.held;
  container.held.add(newcomer.held, received.base);
  if (received.committed) container.held.commit(*received.committed);
  note_changes(container, before);
}

Result<bool> StandbyTable::hold_in_memory(const ReceivedCapsule& received, Container& container,
                                          Newcomer& newcomer) {
  if (newcomer.base_from_disk) {
    const Bytes needed = capsule::full_size(*newcomer.held.capsule);
    const std::uint64_t reserve = options_.memory_budget.count / kReturnReserve;
    const std::scoped_lock guard(mutex_);
    if (needed.count + container.memory.count + reserve > room_for(container).count) return false;
  }
  newcomer.held.footprint = capsule::footprint_of(newcomer.held.capsule);
  if (newcomer.held.footprint.maps_files) {
    PERDURE_ASSIGN(newcomer.held.capsule, detached(newcomer.held.capsule));
    newcomer.held.footprint = capsule::footprint_of(newcomer.held.capsule);
  }
  HeldGenerations before;  // freed after the lock
  const std::scoped_lock guard(mutex_);
  PERDURE_TRY(check_term(received.container, container, received.term));
  PERDURE_TRY(container.held.admit(received.generation, options_.max_generations));
  before = container.held;
  HeldGenerations with = container.held;
  with.add(newcomer.held, received.base);
  if (received.committed) with.commit(*received.committed);
  if (with.memory() > room_for(container)) {
    with.drop_clean_memory();
    if (with.memory() > room_for(container)) return false;
    container.held.drop_clean_memory();
  }
  take_in(received, container, newcomer);
  return true;
}

// Everything of the container goes there: one that does not fit any more will not fit in parts for
// long.
Status StandbyTable::hold_on_disk(const ReceivedCapsule& received, Container& container,
                                  Newcomer& newcomer) {
  HeldGenerations with;
  {
    const std::scoped_lock guard(mutex_);
    with = container.held;
  }
  with.add(newcomer.held, received.base);
  if (received.committed) with.commit(*received.committed);
  if (options_.spill == Spill::kRefuse || !options_.open_store) {
    return fail(no_space(received, with.memory()));
  }
  PERDURE_TRY(open_spill(received.container, container));
  PERDURE_TRY(tidy_in_turn(container));
  std::optional<StandbySpill::Base> below;
  for (const auto& [generation, held] : with.all()) {
    const bool is_newcomer = generation == received.generation;
    std::optional<capsule::Digest> stored = held.stored;
    if (is_newcomer && newcomer.base && newcomer.base->stored) {
      below = StandbySpill::Base{newcomer.base->capsule, *newcomer.base->stored};
    }
    // What is damaged in memory must not be in order on disk.
    if (Status checked = stored || is_newcomer ? Status{} : check(received.container, generation); !checked) {
      log::error("{}", checked.error().message());
      below.reset();
      continue;
    }
    if (!stored) {
      PERDURE_ASSIGN(const StandbySpill::Written written,
                     container.spill->write(held, below, is_newcomer ? received.bytes : nullptr));
      stored = written.digest;
      if (is_newcomer) {
        newcomer.held.stored = written.digest;
        newcomer.held.stored_size = written.size;
      } else {
        const std::scoped_lock guard(mutex_);
        const HeldGenerations before = container.held;
        container.held.moved_to_disk(generation, written.digest, written.size);
        note_changes(container, before);
      }
    }
    below.reset();
    if (held.capsule != nullptr) below = StandbySpill::Base{held.capsule, *stored};
  }
  newcomer.held.out_of_memory();
  HeldGenerations before;
  const std::scoped_lock guard(mutex_);
  const bool was_dirty = container.disk_dirty;
  container.disk_dirty = true;  // unless it is held now
  PERDURE_TRY(check_term(received.container, container, received.term));
  PERDURE_TRY(container.held.admit(received.generation, options_.max_generations));
  container.disk_dirty = was_dirty;
  before = container.held;
  container.held.drop_clean_memory();
  take_in(received, container, newcomer);
  return {};
}

Error StandbyTable::no_space(const ReceivedCapsule& received, Bytes needed) const {
  const std::scoped_lock guard(mutex_);
  std::vector<std::pair<Bytes, std::string>> holders;
  for (const auto& [name, container] : containers_) {
    if (container->memory.count > 0) holders.emplace_back(container->memory, name.str());
  }
  std::ranges::sort(holders, std::greater{});
  std::string most;
  for (std::size_t i = 0; i < std::min(holders.size(), kNamedInRefusal); ++i) {
    most += std::format("{} '{}' {}", i == 0 ? "; most hold" : ",", holders[i].second,
                        format_bytes(holders[i].first));
  }
  return Error(ErrorCode::kNoSpace,
               std::format("'{}' would need {}; {} of {} are held{}: raise the node's budget for "
                           "capsules of others, or let them be spilled to disk",
                           received.container.str(), format_bytes(needed), format_bytes(memory_),
                           format_bytes(options_.memory_budget), most));
}

}  // namespace perdure::replica
