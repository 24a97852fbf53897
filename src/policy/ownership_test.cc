// Proves what the owner's node and a move's target do, event by event: testdata/ownership.txt and
// testdata/taking.txt are plays in many scenes, in which each line is an event and the expectation
// is every effect, in order, and the state reached. Timers fire by themselves while a scene waits.
#include "policy/ownership.h"

#include <format>
#include <memory>

#include "base/units.h"
#include "gtest/gtest.h"
#include "policy/golden_file.h"
#include "policy/standing_by.h"
#include "policy/taking.h"

namespace perdure::policy {
namespace {

using std::chrono_literals::operator""s;
using model::NodeLife;
using model::OwnershipRecord;

NodeName node(const std::string& text) {
  return NodeName::parse(text).value();
}

// "b/2"
NodeLife life(const std::string& text) {
  const auto parts = split(text, '/');
  return {node(parts.at(0)), Incarnation{std::stoull(parts.at(1))}};
}

std::vector<NodeLife> lives(const std::string& text) {
  std::vector<NodeLife> all;
  for (const auto& part : split(text, ',')) all.push_back(life(part));
  return all;
}

// Generations are written by their number: those of a/1 under term 7.
Generation number(const std::string& text) {
  return {Term{7}, Incarnation{1}, std::stoull(text)};
}

// What both plays have in common: words, time, the store's last request.
class Stage {
 public:
  virtual ~Stage() = default;
  std::string play(const std::vector<std::string>& lines) {
    output_.clear();
    for (const auto& line : lines) {
      words_ = split(line, ' ');
      if (words_.front() == "wait") {
        wait(parse_duration(words_.at(1)).value());
      } else {
        act(words_.front());
      }
    }
    return output_ + "-> " + state() + "\n";
  }

 protected:
  virtual void act(const std::string& verb) = 0;
  virtual void fire() = 0;
  virtual std::string state() const = 0;

  void wait(Duration duration) {
    const Instant end = now_ + duration;
    while (timer_ && *timer_ <= end) {
      now_ = std::max(now_, *timer_);
      timer_.reset();
      const std::string before = output_;
      output_ += std::format("({} later)\n", format_duration(duration - (end - now_)));
      const std::size_t size = output_.size();
      fire();
      if (output_.size() == size) output_ = before;  // nothing came of it
    }
    now_ = end;
  }

  std::string word(std::size_t index) const { return index < words_.size() ? words_[index] : ""; }
  std::string rest(std::size_t from) const {
    std::string text;
    for (std::size_t n = from; n < words_.size(); ++n) text += (n == from ? "" : " ") + words_[n];
    return text;
  }
  std::string option(const std::string& key) const {
    for (const auto& w : words_) {
      if (w.starts_with(key + "=")) return w.substr(key.size() + 1);
    }
    return {};
  }
  bool has(const std::string& flag) const { return std::ranges::contains(words_, flag); }

  // "b/2 term=8 moving [standbys=a/1,c/1] [removed] [revision=9]", from the word at `from` on.
  OwnershipRecord record(std::size_t from) const {
    OwnershipRecord r{.container = ContainerName::parse("web").value(),
                      .owner = life(words_.at(from)),
                      .standbys = lives(option("standbys")),
                      .term = Term{7},
                      .spec_digest = {},
                      .image_digest = {},
                      .phase = model::RecordPhase::kRunning,
                      .writer = life(words_.at(from))};
    if (!option("term").empty()) r.term = Term{std::stoull(option("term"))};
    if (has("moving")) r.phase = model::RecordPhase::kMoving;
    if (has("starting")) r.phase = model::RecordPhase::kStarting;
    if (has("stopped")) r.desired = model::DesiredState::kStopped;
    if (has("removed")) r.desired = model::DesiredState::kRemoved;
    return r;
  }
  ownership::Revision revision() const {
    return option("revision").empty() ? revision_ : std::stoll(option("revision"));
  }

  // applied | unknown | no-store | read same | read sent | read none | read RECORD | refused RECORD
  std::optional<ownership::Event> store_answer(const std::string& verb) {
    using namespace ownership;
    const Request request = request_;
    if (verb == "applied") return SwapApplied{request, revision_ = revision_ + 1};
    if (verb == "unknown") return SwapUnknown{request, "the connection was lost"};
    if (verb == "no-store") return ReadFailed{request, "no leader"};
    if (verb == "read" && word(1) == "same") return RecordRead{request, stored_, revision_};
    if (verb == "read" && word(1) == "none") {
      return RecordRead{request, std::nullopt,
                        option("revision").empty() ? revision_ + 1 : revision()};
    }
    if (verb == "read" && word(1) == "sent") {
      stored_ = sent_;
      return RecordRead{request, stored_, revision_ = revision_ + 1};
    }
    if (verb != "read" && verb != "refused") return std::nullopt;
    stored_ = record(1);
    revision_ = option("revision").empty() ? revision_ + 1 : revision();
    if (verb == "read") return RecordRead{request, stored_, revision_};
    return SwapRefused{request, stored_, revision_};
  }

  // True: shown by nobody else.
  bool note(const ownership::Effect& effect) {
    if (const auto* set = std::get_if<ownership::SetTimer>(&effect)) timer_ = set->at;
    if (const auto* read = std::get_if<ownership::ReadRecord>(&effect)) request_ = read->request;
    if (const auto* remove = std::get_if<ownership::RemoveRecord>(&effect)) {
      request_ = remove->request;
    }
    if (const auto* swap = std::get_if<ownership::Swap>(&effect)) {
      request_ = swap->request;
      sent_ = swap->record;
    }
    return std::holds_alternative<ownership::SetTimer>(effect);
  }

  NonceSource nonces() {
    return [this] {
      model::Nonce nonce{};
      nonce[0] = ++nonce_;
      return nonce;
    };
  }

  std::vector<std::string> words_;
  std::string output_;
  Instant now_{};
  std::optional<Instant> timer_;
  ownership::Request request_ = 0;
  ownership::Revision revision_ = 20;
  std::optional<OwnershipRecord> stored_;
  std::optional<OwnershipRecord> sent_;
  std::uint8_t nonce_ = 0;
};

class OwnerStage : public Stage {
 public:
  const Ownership& owner() const { return *owner_; }

 private:
  void act(const std::string& verb) override {
    if (verb == "new" || verb == "restarted") return begin(verb == "new");
    if (auto answer = store_answer(verb)) return tell(*answer);
    tell(event(verb));
  }
  void fire() override { tell(ownership::TimerFired{}); }

  // new [standbys=…] [wanted=N] [stock=1,2] [committed=1] [durable=1] [stateless]
  void begin(bool adopted) {
    OwnershipOptions options;
    options.standbys =
        option("wanted").empty() ? 1 : static_cast<std::uint32_t>(std::stoul(option("wanted")));
    now_ = Instant{} + 100s;
    timer_.reset();
    request_ = 0;
    revision_ = 20;
    nonce_ = 0;
    grants_ = !has("no-grants");
    words_.insert(words_.begin() + 1, adopted ? "a/1" : "a/2");
    const OwnershipIdentity identity{
        ContainerName::parse("web").value(), life(words_[1]),
        has("stateless") ? Statefulness::kStateless : Statefulness::kStateful};
    owner_ = std::make_unique<Ownership>(identity, options, nonces());
    ownership::Stock stock;
    for (const auto& text : split(option("stock"), ',')) stock.generations.push_back(number(text));
    if (!option("committed").empty()) stock.committed = number(option("committed"));
    if (!option("durable").empty()) stock.durable = number(option("durable"));
    if (adopted) {
      stored_ = record(1);
      return tell(ownership::Adopted{*stored_, revision_, stock});
    }
    ownership::Restarted first{.term = Term{7},
                               .revision = revision_,
                               .handing_over = {},
                               .removed = has("removed"),
                               .stock = stock};
    if (!option("to").empty()) {
      first.handing_over = ownership::HandingOver{.target = life(option("to")),
                                                  .generation = stock.generations.back(),
                                                  .term = Term{7},
                                                  .standbys = lives(option("standbys"))};
    }
    tell(first);
  }

  ownership::Event event(const std::string& verb) const {
    using namespace ownership;
    const auto held = [&](std::size_t index) {
      return word(index).empty() ? std::nullopt : std::optional(number(word(index)));
    };
    if (verb == "up") return PeerUp{life(word(1)), held(2)};
    if (verb == "down") return PeerDown{node(word(1))};
    if (verb == "ends") return PeerEnds{life(word(1))};
    if (verb == "candidates") return candidates();
    if (verb == "enlisted") return Enlisted{life(word(1)), held(2)};
    if (verb == "enlist-refused") return EnlistRefused{node(word(1)), rest(2)};
    if (verb == "dismissed") return Dismissed{node(word(1))};
    if (verb == "dismiss-refused") return DismissRefused{node(word(1)), rest(2)};
    if (verb == "captured") return Captured{number(word(1))};
    if (verb == "held") return Held{life(word(1)), number(word(2))};
    if (verb == "shrank") return HoldingShrank{life(word(1)), held(2)};
    if (verb == "durable") return ownership::Durable{number(word(1))};
    if (verb == "discarded") return GenerationsDiscarded{{number(word(1))}};
    if (verb == "gone-back-to") return ownership::GoneBackTo{number(word(1)), rest(2) == "durable"};
    if (verb == "runs") return ContainerRuns{};
    if (verb == "container-removed") return ContainerRemoved{};
    if (verb == "stop") return DesiredAsked{model::DesiredState::kStopped};
    if (verb == "start") return DesiredAsked{model::DesiredState::kRunning};
    if (verb == "remove") return DesiredAsked{model::DesiredState::kRemoved};
    if (verb == "wanted") return StandbysWanted{static_cast<std::uint32_t>(std::stoul(word(1)))};
    if (verb == "move") return MoveAsked{node(word(1))};
    if (verb == "fail-over") return FailOverAsked{node(word(1)), number(word(2))};
    if (verb == "prepared") return MovePrepared{node(word(1)), rest(2)};
    if (verb == "frozen") return HandoverCaptured{number(word(1))};
    if (verb == "not-remembered") return NotRemembered{rest(1)};
    if (verb == "freeze-failed") return HandoverCaptureFailed{rest(1)};
    if (verb == "taken") return Taken{node(word(1)), Term{8}, rest(2)};
    if (verb == "target-committed") return TargetCommitted{Term{8}};
    if (verb == "target-silent") return TargetSilent{held(1)};
    if (verb == "changed") return RecordChanged{std::stoll(word(1))};
    if (verb == "grants") return ownership::GrantsFlow{life(word(1))};
    if (verb == "grants-stopped") return ownership::GrantsStopped{life(word(1))};
    if (verb == "foreign") return StoreForeign{"the store is of another cluster"};
    ADD_FAILURE() << "what is '" << verb << "'?";
    return ownership::TimerFired{};
  }

  // candidates b c !d:cordoned
  ownership::Candidates candidates() const {
    ownership::Candidates all;
    for (std::size_t n = 1; n < words_.size(); ++n) {
      if (!words_[n].starts_with('!')) {
        all.order.push_back(node(words_[n]));
        continue;
      }
      const auto parts = split(words_[n].substr(1), ':');
      all.refused[node(parts.at(0))] = "it is " + parts.at(1);
    }
    return all;
  }

  // Whoever is asked grants at once, unless the scene began with no-grants.
  void tell(const ownership::Event& event) {
    std::vector<NodeLife> asked;
    for (const auto& effect : owner_->handle(event, now_)) {
      if (!note(effect)) output_ += ownership::to_string(effect, now_) + "\n";
      const auto* needs = std::get_if<ownership::NeedGrants>(&effect);
      if (needs != nullptr && grants_) asked = needs->asked;
    }
    if (std::holds_alternative<ownership::SwapApplied>(event)) stored_ = sent_;
    for (const NodeLife& life : asked) tell(ownership::GrantsFlow{life});
  }

  std::string state() const override {
    const OwnershipStatus status = owner_->status();
    std::string text(ownership::to_string(status.knowledge));
    if (status.change_waits) text += ", a change waits";
    if (status.move != MoveStep::kNone) {
      text += std::format(", move: {}", ownership::to_string(status.move));
    }
    return text;
  }

  std::unique_ptr<Ownership> owner_;
  bool grants_ = true;
};

// The target, or the standby, is b/2. In a move the record that names it has term 8; in a takeover the
// one that it is silent under has term 7, revision 20.
class TakerStage : public Stage {
 private:
  void act(const std::string& verb) override {
    if (verb == "new") {
      now_ = Instant{} + 100s;
      timer_.reset();
      request_ = 0;
      revision_ = 20;
      taker_ = std::make_unique<Taking>(ContainerName::parse("web").value(), life("b/2"), Term{7},
                                        OwnershipOptions{}, nonces());
    } else if (verb == "told") {
      const Term term{option("term").empty() ? 8 : std::stoull(option("term"))};
      tell(taking::Told{term, number(word(1)), 21});
    } else if (verb == "found-unfinished") {
      tell(taking::FoundUnfinished{Term{8}});
    } else if (verb == "silent") {  // silent RECORD [holds=1,2]
      stored_ = record(1);
      taking::OwnerSilent silent{.record = *stored_, .revision = revision_, .holds = {}};
      for (const auto& text : split(option("holds"), ',')) silent.holds.push_back(number(text));
      tell(silent);
    } else if (verb == "heard") {
      tell(taking::OwnerHeard{});
    } else if (verb == "held") {
      tell(taking::Held{number(word(1))});
    } else if (verb == "restored") {
      tell(taking::Restored{});
    } else if (verb == "restore-failed") {
      tell(taking::RestoreFailed{rest(1)});
    } else if (verb == "changed") {
      tell(ownership::RecordChanged{std::stoll(word(1))});
    } else if (auto answer = store_answer(verb)) {
      std::visit(
          [this](const auto& e) {
            if constexpr (requires { taking::Event(e); }) tell(e);
          },
          *answer);
    } else {
      ADD_FAILURE() << "what is '" << verb << "'?";
    }
  }
  void fire() override { tell(ownership::TimerFired{}); }

  void tell(const taking::Event& event) {
    for (const auto& effect : taker_->handle(event, now_)) {
      const bool hidden = std::visit(
          [this](const auto& e) {
            if constexpr (requires { ownership::Effect(e); }) return note(ownership::Effect(e));
            return false;
          },
          effect);
      if (!hidden) output_ += taking::to_string(effect, now_) + "\n";
    }
  }

  std::string state() const override { return std::string(to_string(taker_->step())); }

  std::unique_ptr<Taking> taker_;
};

TEST(OwnershipTest, PlaysAsWritten) {
  OwnerStage stage;
  run_golden_file(PERDURE_POLICY_TESTDATA "/ownership.txt",
                  [&](const std::vector<std::string>& lines) { return stage.play(lines); });
}

TEST(OwnershipTest, TheDirectoryCountsWhileARecordThatMayBeInForceHasNoStandby) {
  OwnerStage stage;
  stage.play({"new", "candidates b", "up b/2", "enlisted b/2", "captured 1"});
  EXPECT_TRUE(stage.owner().durable_counts());
  stage.play({"held b/2 1"});
  EXPECT_TRUE(stage.owner().durable_counts()) << "the swap is under way";
  stage.play({"applied"});
  EXPECT_FALSE(stage.owner().durable_counts());
  stage.play({"new standbys=b/2"});
  EXPECT_FALSE(stage.owner().durable_counts());
}

TEST(TakingTest, PlaysAsWritten) {
  TakerStage stage;
  run_golden_file(PERDURE_POLICY_TESTDATA "/taking.txt",
                  [&](const std::vector<std::string>& lines) { return stage.play(lines); });
}

// ---- A holder's decision ----

struct HolderRow {
  std::string what;
  void (*change)(HolderQuestion&);
  HolderRole role;
  bool drop;
};

HolderQuestion holder() {
  HolderQuestion question{.self = life("b/2"),
                          .holds = true,
                          .term = Term{7},
                          .enlistment = {},
                          .record = {},
                          .revision = 30,
                          .highest_revision = 30,
                          .store_known = true};
  question.record = OwnershipRecord{.container = ContainerName::parse("web").value(),
                                    .owner = life("a/1"),
                                    .standbys = {life("b/2")},
                                    .term = Term{7},
                                    .spec_digest = {},
                                    .image_digest = {},
                                    .writer = life("a/1")};
  return question;
}

TEST(HolderTest, LetsGoOnlyOfWhatIsRemovedForSure) {
  const std::vector<HolderRow> rows = {
      {"a standby", [](auto&) {}, HolderRole::kStandby, false},
      {"in an earlier life", [](auto& q) { q.self.incarnation = Incarnation{3}; },
       HolderRole::kFormerLife, false},
      {"enlisted again since",
       [](auto& q) {
         q.self.incarnation = Incarnation{3};
         q.enlistment = Enlistment{life("a/1"), Term{7}};
       },
       HolderRole::kLearner, false},
      {"a learner",
       [](auto& q) {
         q.record->standbys.clear();
         q.enlistment = Enlistment{life("a/1"), Term{7}};
       },
       HolderRole::kLearner, false},
      {"enlisted by who does not own it any more",
       [](auto& q) {
         q.record->standbys.clear();
         q.record->owner = life("c/1");
         q.enlistment = Enlistment{life("a/1"), Term{7}};
       },
       HolderRole::kNone, false},
      {"dropped from the record: the owner says when it may let go",
       [](auto& q) { q.record->standbys.clear(); }, HolderRole::kNone, false},
      {"the owner itself", [](auto& q) { q.record->owner = q.self; }, HolderRole::kOwner, false},
      {"removed", [](auto& q) { q.record.reset(); }, HolderRole::kNone, true},
      {"removed, and nothing is held",
       [](auto& q) {
         q.record.reset();
         q.holds = false;
       },
       HolderRole::kNone, false},
      {"the store has gone back",
       [](auto& q) {
         q.record.reset();
         q.revision = 29;
       },
       HolderRole::kUndecided, false},
      {"the store has not been reached",
       [](auto& q) {
         q.record.reset();
         q.store_known = false;
       },
       HolderRole::kUndecided, false},
      {"a lower term than known", [](auto& q) { q.term = Term{8}; }, HolderRole::kUndecided, false},
  };
  for (const HolderRow& row : rows) {
    HolderQuestion question = holder();
    row.change(question);
    const HolderDecision decision = decide_holder(question);
    EXPECT_EQ(to_string(decision.role), to_string(row.role)) << row.what;
    EXPECT_EQ(decision.drop, row.drop) << row.what;
    const bool takes = row.role == HolderRole::kStandby || row.role == HolderRole::kLearner;
    EXPECT_EQ(decision.sender.has_value(), takes) << row.what;
    EXPECT_GE(decision.term, question.term) << row.what;
  }
}

TEST(HolderTest, TakesFromTheOwnerOfTheRecordAndRaisesTheTerm) {
  HolderQuestion question = holder();
  question.record->owner = life("c/4");
  question.record->term = Term{9};
  const HolderDecision decision = decide_holder(question);
  EXPECT_EQ(decision.sender, life("c/4"));
  EXPECT_EQ(decision.term, Term{9});
}

}  // namespace
}  // namespace perdure::policy
