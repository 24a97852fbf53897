#include "policy/reachability.h"

#include <format>
#include <utility>

namespace perdure::policy::reachability {

Reachability::Reachability(std::vector<model::IpAddress> addresses, Options options)
    : addresses_(std::move(addresses)), options_(options) {}

struct Reachability::Handler {
  Reachability& self;
  Instant now;

  void operator()(const Probed& it) { self.probed(it, now); }
  void operator()(const ProbeFailed& it) {
    self.state_ = State::kUnknown;
    self.silent_since_.reset();
    self.silent_rounds_ = 0;
    self.asked_.clear();
    self.held_back_ = it.reason;
  }
  void operator()(const StandbyAnswered& it) { self.standby_answered(it, now); }
  void operator()(const CameFromUnreachable&) {
    self.no_move_before_ = now + self.options_.stay;
    self.held_for_ = std::format("it stays for {} after such a move or a start of perdured", format_duration(self.options_.stay));
  }
  void operator()(const MoveFailed& it) {
    self.moving_ = false;
    self.no_move_before_ = now + self.options_.move_again;
    self.held_for_ = std::format("it could not be moved: {}", it.reason);
  }
};

std::vector<Effect> Reachability::handle(const Event& event, Instant now) {
  effects_.clear();
  std::visit(Handler{*this, now}, event);
  return std::exchange(effects_, {});
}

void Reachability::probed(const Probed& event, Instant now) {
  answered_.clear();
  for (const model::IpAddress& address : addresses_) {
    if (!event.answered.contains(address)) continue;
    answered_.insert(address);
    last_answers_.insert_or_assign(address, now);
  }
  if (!answered_.empty()) return heard();
  silent(event, now);
}

void Reachability::heard() {
  const bool was_silent = std::exchange(state_, State::kReachable) == State::kUnreachable;
  silent_since_.reset();
  silent_rounds_ = 0;
  asked_.clear();
  next_question_.reset();
  told_nobody_ = false;
  held_back_.clear();
  if (was_silent) emit(Severity::kInfo, "reachable", std::format("{} can be reached again", list()));
}

void Reachability::silent(const Probed& event, Instant now) {
  if (!silent_since_) silent_since_ = now;
  ++silent_rounds_;
  if (now - *silent_since_ < options_.silence || silent_rounds_ < options_.silent_rounds) return;
  if (std::exchange(state_, State::kUnreachable) != State::kUnreachable) {
    emit(Severity::kWarning, "unreachable",
         std::format("{} cannot be reached: no answer for {}", list(), format_duration(options_.silence)));
  }
  if (moving_) return;
  if (no_move_before_ && now < *no_move_before_) {
    held_back_ = held_for_;
    return;
  }
  if (!asked_.empty() || (next_question_ && now < *next_question_)) return;
  ask(event.candidates, now);
}

void Reachability::ask(const std::vector<NodeName>& candidates, Instant now) {
  if (candidates.empty()) {
    held_back_ = "no standby is ready to take it";
    return;
  }
  next_question_ = now + options_.ask_again;
  ++question_;
  for (const NodeName& node : candidates) {
    asked_.insert(node);
    effects_.emplace_back(AskStandby{node, question_});
  }
}

void Reachability::standby_answered(const StandbyAnswered& event, Instant now) {
  if (event.question != question_ || asked_.erase(event.node) == 0) return;
  if (event.reaches == Reaches::kYes) {
    asked_.clear();
    moving_ = true;
    held_back_.clear();
    emit(Severity::kWarning, "handed_over",
         std::format("it is moved to node '{}', from which its clients can be reached", event.node.str()),
         std::format("{} cannot be reached from here since {}", list(), format_duration(now - silent_since_.value_or(now))));
    effects_.emplace_back(HandOver{event.node});
    return;
  }
  if (!asked_.empty()) return;
  held_back_ = "no ready standby reaches any of them either";
  if (std::exchange(told_nobody_, true)) return;
  emit(Severity::kWarning, "unreachable_everywhere",
       std::format("it stays here: no ready standby reaches {} either", list()));
}

std::vector<AddressStatus> Reachability::addresses() const {
  std::vector<AddressStatus> rows;
  const bool is_known = state_ != State::kUnknown || silent_rounds_ > 0;
  for (const model::IpAddress& address : addresses_) {
    AddressStatus& row = rows.emplace_back();
    row.address = address;
    if (is_known) row.state = answered_.contains(address) ? State::kReachable : State::kUnreachable;
    if (const auto last = last_answers_.find(address); last != last_answers_.end()) row.last_answer = last->second;
  }
  return rows;
}

void Reachability::emit(Severity severity, std::string kind, std::string text, std::string reason) {
  effects_.emplace_back(Emit{severity, std::move(kind), std::move(text), std::move(reason)});
}

std::string Reachability::list() const {
  std::string text;
  for (const model::IpAddress& address : addresses_) text += (text.empty() ? "" : ", ") + model::to_string(address);
  return text;
}

// ---- For logs ----

namespace {

struct EventText {
  std::string operator()(const Probed& it) const {
    return std::format("probed: {} answered, {} candidates", it.answered.size(), it.candidates.size());
  }
  std::string operator()(const ProbeFailed& it) const { return "probe failed: " + it.reason; }
  std::string operator()(const StandbyAnswered& it) const {
    return std::format("'{}' reaches {}", it.node.str(), it.reaches == Reaches::kYes ? "them" : "none");
  }
  std::string operator()(const CameFromUnreachable&) const { return "came from unreachable"; }
  std::string operator()(const MoveFailed& it) const { return "move failed: " + it.reason; }
};

struct EffectText {
  std::string operator()(const AskStandby& it) const { return std::format("ask '{}' #{}", it.node.str(), it.question); }
  std::string operator()(const HandOver& it) const { return std::format("hand over to '{}'", it.target.str()); }
  std::string operator()(const Emit& it) const { return std::format("emit {}: {}", it.kind, it.text); }
};

}  // namespace

std::string to_string(const Event& event) { return std::visit(EventText{}, event); }
std::string to_string(const Effect& effect) { return std::visit(EffectText{}, effect); }

}  // namespace perdure::policy::reachability
