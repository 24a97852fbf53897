#include "replica/shipper.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <format>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/log.h"

namespace perdure::replica {
namespace {

// What a destination is known to hold besides its newest: after a rollback one of them is the base.
constexpr std::size_t kRemembered = 8;

// Destinations whose bandwidths are within a factor of four share one encoding; a fast link does not wait for what pays
// only for a slow disk. 0: not compressed.
int bandwidth_class(const Destination& destination) {
  const double rate = destination.compresses() ? destination.bytes_per_second() : 0;
  return rate >= 1 ? 1 + std::ilogb(rate) / 2 : 0;
}

io::Patience::Wanted patience_of(Pace pace) {
  return pace == Pace::kNewestOnly ? io::Patience::Wanted::kYes : io::Patience::Wanted::kNo;
}

}  // namespace

bool Destination::wants_full(const Holding&) const {
  return false;
}

struct Shipper::Item {
  capsule::CapsuleRef capsule;
  Instant thawed{};
  const Generation& generation() const { return capsule->manifest.generation; }
};

struct Shipper::BaseChoice {
  Holding holding;
  capsule::CapsuleRef capsule;
};

// Of one capsule against one base; shared by the routes that wait for it or send it.
struct Shipper::Encoding {
  EncodingKey key;
  std::optional<Result<std::shared_ptr<const capsule::EncodedCapsule>>> result;
  std::vector<std::pair<std::string, std::uint64_t>> waiters;  // route and attempt
};

struct Shipper::Route {
  enum class State { kIdle, kEncoding, kSending, kDisconnected, kPausing, kFenced };

  std::unique_ptr<Destination> destination;
  Pace pace = Pace::kNewestOnly;
  State state = State::kIdle;
  std::uint64_t attempt = 0;  // answers to others are late
  std::vector<Holding> held;  // oldest first
  capsule::CapsuleRef base;   // of the newest in `held`; nullptr: perhaps in the owner's table
  bool full_next = false;
  std::deque<Item> waiting;
  std::optional<Item> current;  // encoding or sending
  std::optional<Holding> current_base;
  bool current_discarded = false;
  std::shared_ptr<Encoding> encoding;
  Instant sent{};
  Duration next_pause{};  // zero: the first
  io::Timer timer;
  DestinationStatus counters;

  bool busy() const { return state == State::kEncoding || state == State::kSending; }
  void finish_current() {
    current.reset();
    current_base.reset();
    current_discarded = false;
    encoding.reset();
  }
  void remember(const Holding& holding, capsule::CapsuleRef capsule) {
    held.push_back(holding);
    if (held.size() > kRemembered) held.erase(held.begin());
    base = std::move(capsule);
  }
};

Shipper::Shipper(io::Loop& loop, io::Pool& pool, ContainerName container, ShipperHandlers handlers,
                 ShipPauses pauses)
    : loop_(loop),
      pool_(pool),
      container_(std::move(container)),
      handlers_(std::move(handlers)),
      pauses_(pauses) {}

Shipper::~Shipper() = default;

Shipper::Route* Shipper::route_of(const std::string& name, std::uint64_t attempt) {
  const auto found = routes_.find(name);
  return found == routes_.end() || found->second->attempt != attempt ? nullptr
                                                                     : found->second.get();
}

capsule::CapsuleRef Shipper::find_capsule(const Generation& generation) const {
  const auto is_it = [&](const capsule::CapsuleRef& capsule) {
    return capsule != nullptr && capsule->manifest.generation == generation;
  };
  if (is_it(newest_)) return newest_;
  for (const auto& [name, route] : routes_) {
    if (is_it(route->base)) return route->base;
    if (route->current && is_it(route->current->capsule)) return route->current->capsule;
    for (const Item& item : route->waiting) {
      if (is_it(item.capsule)) return item.capsule;
    }
  }
  return handlers_.find_capsule ? handlers_.find_capsule(generation) : nullptr;
}

// Destinations

void Shipper::add(const std::string& name, std::unique_ptr<Destination> destination, Pace pace,
                  std::optional<Holding> held) {
  remove(name);
  auto route = std::make_unique<Route>();
  route->destination = std::move(destination);
  route->pace = pace;
  route->attempt = next_attempt_++;
  routes_[name] = std::move(route);
  if (newest_ != nullptr) routes_.at(name)->waiting.push_back({newest_, BootClock::now()});
  reconnected(name, held);
}

void Shipper::set_pace(const std::string& name, Pace pace) {
  const auto found = routes_.find(name);
  if (found == routes_.end()) return;
  Route& route = *found->second;
  route.pace = pace;
  while (pace == Pace::kNewestOnly && route.waiting.size() > 1) route.waiting.pop_front();
}

void Shipper::remove(const std::string& name) {
  const auto found = routes_.find(name);
  if (found == routes_.end()) return;
  // It may be the very one whose answer is being handled.
  loop_.post([gone = std::move(found->second->destination)] {});
  routes_.erase(found);
}

void Shipper::reconnected(const std::string& name, std::optional<Holding> held) {
  const auto found = routes_.find(name);
  if (found == routes_.end() || found->second->state == Route::State::kFenced) return;
  Route& route = *found->second;
  if (held && gone_back_from(held->generation)) held.reset();
  capsule::CapsuleRef base = held ? find_capsule(held->generation) : nullptr;
  route.attempt = next_attempt_++;
  route.timer.reset();
  route.next_pause = {};
  put_back(route);
  route.state = Route::State::kIdle;
  route.held.clear();
  route.base.reset();
  route.full_next = false;
  if (held) {
    route.remember(*held, std::move(base));
    // What it holds needs not be sent, nor what came before it in the same life.
    const auto is_held = [&](const Item& item) {
      const Generation& one = item.generation();
      return one.term == held->generation.term && one.incarnation == held->generation.incarnation &&
             one.number <= held->generation.number;
    };
    const bool told = std::ranges::any_of(route.waiting, is_held);
    std::erase_if(route.waiting, is_held);
    if (told) tell_held_later(name, *held);
  }
  advance(name);
}

// Generations

void Shipper::offer(capsule::CapsuleRef capsule, Instant thawed) {
  PERDURE_ASSERT(capsule != nullptr);
  newest_ = capsule;
  if (gone_back_to_ && !first_since_) first_since_ = capsule->manifest.generation;
  const Item item{std::move(capsule), thawed};
  for (const std::string& name : names()) {
    const auto found = routes_.find(name);
    if (found == routes_.end()) continue;  // a handler has removed it
    if (found->second->state != Route::State::kFenced) enqueue(name, *found->second, item);
    advance(name);
  }
}

void Shipper::enqueue(const std::string& name, Route& route, Item item) {
  if (route.pace == Pace::kNewestOnly) route.waiting.clear();
  std::optional<Generation> given_up;
  if (route.waiting.size() >= kMaxWaitingShipments) {
    given_up = route.waiting.front().generation();
    route.waiting.pop_front();
  }
  route.waiting.push_back(std::move(item));
  if (given_up) {
    tell_failed(
        name,
        Error(ErrorCode::kNoSpace,
              std::format("generation {} of '{}' is not sent to {}: {} newer ones wait",
                          to_string(*given_up), container_.str(), name, kMaxWaitingShipments)));
  }
}

void Shipper::replace(const capsule::CapsuleRef& capsule) {
  const auto renew = [&](capsule::CapsuleRef& one) {
    if (one != nullptr && one->manifest.generation == capsule->manifest.generation) one = capsule;
  };
  renew(newest_);
  for (const auto& [name, route] : routes_) {
    renew(route->base);
    if (route->current) renew(route->current->capsule);
    for (Item& item : route->waiting) renew(item.capsule);
  }
}

std::vector<std::string> Shipper::names() const {
  std::vector<std::string> names;
  for (const auto& [name, route] : routes_) names.push_back(name);
  return names;
}

void Shipper::begin_with(capsule::CapsuleRef capsule) {
  if (newest_ == nullptr) newest_ = std::move(capsule);
}

void Shipper::go_back_to(const capsule::CapsuleRef& capsule, const std::set<std::string>& holders) {
  newest_ = capsule;
  gone_back_to_ = capsule->manifest.generation;
  first_since_.reset();
  const Instant now = BootClock::now();
  for (const std::string& name : names()) {
    const auto found = routes_.find(name);
    if (holders.contains(name) || found == routes_.end() || found->second->state == Route::State::kFenced) continue;
    Route& route = *found->second;
    route.held.clear();
    route.base.reset();
    enqueue(name, route, {capsule, now});
    advance(name);
  }
}

bool Shipper::gone_back_from(const Generation& generation) const {
  return gone_back_to_ && generation > *gone_back_to_ && (!first_since_ || generation < *first_since_);
}

void Shipper::discard(const Generation& generation) {
  if (newest_ != nullptr && newest_->manifest.generation == generation) newest_.reset();
  std::vector<std::string> idle;
  for (const auto& [name, route] : routes_) {
    std::erase_if(route->waiting,
                  [&](const Item& item) { return item.generation() == generation; });
    std::erase_if(route->held, [&](const Holding& held) { return held.generation == generation; });
    if (route->base != nullptr && route->base->manifest.generation == generation)
      route->base.reset();
    const bool sent_on_it = route->current_base && route->current_base->generation == generation;
    if (!route->current || (route->current->generation() != generation && !sent_on_it)) continue;
    if (route->state == Route::State::kSending) {
      route->current_discarded = route->current->generation() == generation;
      continue;
    }
    route->attempt = next_attempt_++;
    if (sent_on_it) {
      put_back(*route);
    } else {
      route->finish_current();
    }
    route->state = Route::State::kIdle;
    idle.push_back(name);
  }
  for (const std::string& name : idle) advance(name);
}

// What was under way waits again, in front, unless a newer one takes its place.
void Shipper::put_back(Route& route) {
  if (route.current && !route.current_discarded &&
      (route.pace == Pace::kEveryGeneration || route.waiting.empty())) {
    route.waiting.push_front(std::move(*route.current));
  }
  route.finish_current();
}

std::optional<Shipper::BaseChoice> Shipper::choose_base(const Route& route) const {
  if (route.full_next) return std::nullopt;
  for (auto held = route.held.rbegin(); held != route.held.rend(); ++held) {
    if (!(held->generation < route.current->generation())) continue;
    const bool is_base =
        route.base != nullptr && route.base->manifest.generation == held->generation;
    capsule::CapsuleRef capsule = is_base ? route.base : find_capsule(held->generation);
    if (capsule == nullptr) continue;
    if (route.destination->wants_full(*held)) return std::nullopt;
    return BaseChoice{*held, std::move(capsule)};
  }
  return std::nullopt;
}

void Shipper::advance(const std::string& name) {
  const auto found = routes_.find(name);
  if (found == routes_.end()) return;
  Route& route = *found->second;
  if (route.state != Route::State::kIdle || route.waiting.empty()) return;
  route.current = std::move(route.waiting.front());
  route.waiting.pop_front();
  route.attempt = next_attempt_++;
  Status begun = begin_encoding(name, route);
  // A pool that is full is no destination that is gone, and will report again.
  if (!begun && begun.error().code() == ErrorCode::kTransient) begun = fail(ErrorCode::kIo, begun.error().message());
  if (!begun) on_error(name, route, begun.error());
}

Status Shipper::begin_encoding(const std::string& name, Route& route) {
  route.state = Route::State::kEncoding;
  const std::optional<BaseChoice> base = choose_base(route);
  route.current_base = base ? std::optional(base->holding) : std::nullopt;
  const EncodingKey key(route.current->generation(), route.current_base, bandwidth_class(*route.destination));
  std::erase_if(encodings_, [](const auto& entry) { return entry.second.expired(); });
  std::shared_ptr<Encoding> encoding = encodings_[key].lock();
  if (encoding != nullptr) {
    route.encoding = encoding;
    encoding->waiters.emplace_back(name, route.attempt);
    // At once if it is there; through the loop, for offer() returns at once.
    if (encoding->result) {
      loop_.post([this, token = lifetime_.token(), encoding] {
        if (token.alive()) on_encoded(encoding);
      });
    }
    return {};
  }
  encoding = std::make_shared<Encoding>();
  encoding->key = key;
  capsule::CodecOptions options;
  if (route.destination->compresses()) {
    options.bytes_per_second = route.destination->bytes_per_second();
  }
  PERDURE_TRY(pool_.submit(
      loop_, lifetime_,
      [child = route.current->capsule, base, options,
       patience = patience_of(route.pace)]() -> Result<std::shared_ptr<const capsule::EncodedCapsule>> {
        log::debug("{}: checkpoint: encoding {}", child->manifest.container, base ? "what changed" : "everything");
        const io::Patience nobody_waits(patience);
        PERDURE_ASSIGN(capsule::EncodedCapsule encoded,
                       capsule::encode(*child, base ? base->capsule.get() : nullptr,
                                       base ? &base->holding.digest : nullptr, options));
        return std::make_shared<const capsule::EncodedCapsule>(std::move(encoded));
      },
      [this, encoding](Result<std::shared_ptr<const capsule::EncodedCapsule>> result) {
        encoding->result = std::move(result);
        on_encoded(encoding);
      }));
  route.encoding = encoding;
  encoding->waiters.emplace_back(name, route.attempt);
  encodings_[key] = encoding;
  return {};
}

void Shipper::on_encoded(const std::shared_ptr<Encoding>& encoding) {
  const auto waiters = std::exchange(encoding->waiters, {});
  for (const auto& [name, attempt] : waiters) {
    Route* route = route_of(name, attempt);
    if (route == nullptr || route->state != Route::State::kEncoding) continue;
    if (*encoding->result) {
      send(name, *route);
    } else {
      on_error(name, *route, encoding->result->error());
    }
  }
}

void Shipper::send(const std::string& name, Route& route) {
  route.state = Route::State::kSending;
  route.sent = BootClock::now();
  const Shipment shipment{route.current->generation(), route.current_base, **route.encoding->result,
                          patience_of(route.pace)};
  route.destination->ship(shipment, [this, token = lifetime_.token(), name,
                                     attempt = route.attempt](Result<HoldReceipt> answer) {
    if (token.alive()) on_answer(name, attempt, std::move(answer));
  });
}

// Answers

void Shipper::on_answer(const std::string& name, std::uint64_t attempt,
                        Result<HoldReceipt> answer) {
  Route* route = route_of(name, attempt);
  if (route == nullptr || route->state != Route::State::kSending) return;  // late
  if (answer && answer->holding.generation != route->current->generation()) {
    answer = fail(ErrorCode::kIo, std::format("it acknowledged generation {} instead",
                                              to_string(answer->holding.generation)));
  }
  if (answer) {
    on_success(name, *route, std::move(*answer));
  } else {
    on_error(name, *route, answer.error());
  }
}

void Shipper::on_success(const std::string& name, Route& route, HoldReceipt receipt) {
  const Instant now = BootClock::now();
  DestinationStatus& counters = route.counters;
  counters.last_round_trip = now - route.sent;
  counters.last_since_thaw = now - route.current->thawed;
  counters.last_holder_time = receipt.took;
  log::debug("{}: {} holds generation {} {} after the thaw: sent and held within {}, of that {} its own", container_.str(),
             name, to_string(route.current->generation()), format_duration(counters.last_since_thaw),
             format_duration(counters.last_round_trip), format_duration(counters.last_holder_time));
  counters.last_error.clear();
  counters.shipped_bytes += (**route.encoding->result)->size_bytes;
  ++(route.current_base ? counters.delta_shipments : counters.full_shipments);
  route.next_pause = {};
  route.full_next = false;
  route.state = Route::State::kIdle;
  const bool discarded = route.current_discarded;
  if (!discarded) route.remember(receipt.holding, route.current->capsule);
  route.finish_current();
  if (!discarded && handlers_.on_held) handlers_.on_held(name, receipt);
  advance(name);
}

void Shipper::on_error(const std::string& name, Route& route, const Error& error) {
  const ErrorCode code = error.code();
  if (route.current_discarded && code != ErrorCode::kFenced && code != ErrorCode::kTransient) {
    route.finish_current();
    route.state = Route::State::kIdle;
    return advance(name);
  }
  route.counters.last_error = error.message();
  const bool was_delta = route.current_base.has_value();
  switch (code) {
    case ErrorCode::kFenced:
      route.state = Route::State::kFenced;
      route.finish_current();
      route.waiting.clear();
      route.held.clear();
      route.base.reset();
      return tell_failed(name, error);
    case ErrorCode::kTransient:
    case ErrorCode::kCancelled:
      put_back(route);
      route.state = Route::State::kDisconnected;
      return;
    case ErrorCode::kNotFound:
      if (!was_delta) break;
      route.held.clear();
      route.base.reset();
      route.full_next = true;
      put_back(route);
      route.state = Route::State::kIdle;
      return advance(name);
    case ErrorCode::kInvalid:
      route.finish_current();
      route.full_next = true;
      route.state = Route::State::kIdle;
      tell_failed(name, error);
      return advance(name);
    case ErrorCode::kCorrupt:  // one of the two ends is wrong about the base
      route.full_next = true;
      break;
    default:
      break;
  }
  put_back(route);
  pause(name, route);
  tell_failed(name, error);
}

void Shipper::pause(const std::string& name, Route& route) {
  route.state = Route::State::kPausing;
  route.attempt = next_attempt_++;
  const Duration length = std::max(route.next_pause, pauses_.first);
  route.next_pause = std::min(2 * length, pauses_.longest);
  route.timer = loop_.after(length, [this, name, attempt = route.attempt] {
    Route* waiting = route_of(name, attempt);
    if (waiting == nullptr) return;
    waiting->state = Route::State::kIdle;
    advance(name);
  });
}

void Shipper::tell_held_later(const std::string& name, const Holding& holding) {
  loop_.post([this, token = lifetime_.token(), name, holding] {
    if (!token.alive() || !routes_.contains(name) || !handlers_.on_held) return;
    handlers_.on_held(name, HoldReceipt{holding, {}, false, {}});
  });
}

void Shipper::tell_failed(const std::string& name, const Error& error) {
  if (const auto found = routes_.find(name); found != routes_.end()) {
    ++found->second->counters.failures;
    found->second->counters.last_error = error.message();
  }
  if (handlers_.on_failed) handlers_.on_failed(name, error);
}

// Looking

std::optional<DestinationStatus> Shipper::status(const std::string& name) const {
  const auto found = routes_.find(name);
  if (found == routes_.end()) return std::nullopt;
  const Route& route = *found->second;
  DestinationStatus status = route.counters;
  if (!route.held.empty()) status.held = route.held.back();
  if (route.current) status.under_way = route.current->generation();
  if (!route.waiting.empty()) status.waiting = route.waiting.front().generation();
  status.waiting_count = route.waiting.size();
  status.fenced = route.state == Route::State::kFenced;
  status.disconnected = route.state == Route::State::kDisconnected;
  return status;
}

std::size_t Shipper::backlog() const {
  std::size_t longest = 0;
  for (const auto& [name, route] : routes_) {
    if (route->pace != Pace::kEveryGeneration) continue;
    longest = std::max(longest, route->waiting.size() + (route->current ? 1 : 0));
  }
  return longest;
}

std::set<Generation> Shipper::bases() const {
  std::set<Generation> used;
  for (const auto& [name, route] : routes_) {
    if (!route->held.empty()) used.insert(route->held.back().generation);
    if (route->current) used.insert(route->current->generation());
    for (const Item& item : route->waiting) used.insert(item.generation());
  }
  return used;
}

}  // namespace perdure::replica
