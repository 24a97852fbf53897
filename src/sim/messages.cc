#include "sim/messages.h"

#include <format>

namespace perdure::sim {
namespace {

std::string text_of(const std::optional<Generation>& generation) {
  return generation ? perdure::to_string(*generation) : "nothing";
}
std::string text_of(const std::string& refusal) {
  return refusal.empty() ? "yes" : "no: " + refusal;
}

struct BodyText {
  std::string operator()(const HeldReport& m) const {
    return std::format("held-report of {}", m.newest.size());
  }
  std::string operator()(const AskHeld&) const { return "ask-held"; }
  std::string operator()(const HeldNow& m) const { return "holds " + text_of(m.newest); }
  std::string operator()(const Enlist& m) const {
    return std::format("enlist term {}", m.term.value);
  }
  std::string operator()(const EnlistReply& m) const {
    return std::format("enlist: {}, holds {}", text_of(m.refusal), text_of(m.held));
  }
  std::string operator()(const Ship& m) const {
    return std::format("ship term {} {}", m.term.value, perdure::to_string(m.generation));
  }
  std::string operator()(const ShipReply& m) const {
    return std::format("ship {}: {}", perdure::to_string(m.generation), text_of(m.refusal));
  }
  std::string operator()(const CommitNotice& m) const {
    return std::format("committed term {} {}", m.term.value, text_of(m.generation));
  }
  std::string operator()(const Dismiss& m) const {
    return std::format("dismiss term {}", m.term.value);
  }
  std::string operator()(const DismissReply& m) const { return "dismiss: " + text_of(m.refusal); }
  std::string operator()(const Fetch& m) const {
    return std::format("fetch term {}", m.term.value);
  }
  std::string operator()(const Fetched& m) const { return "fetched " + text_of(m.generation); }
  std::string operator()(const Prepare& m) const {
    return std::format("prepare term {}", m.term.value);
  }
  std::string operator()(const PrepareReply& m) const { return "prepare: " + text_of(m.refusal); }
  std::string operator()(const Take& m) const {
    return std::format("take term {} {}", m.term.value, perdure::to_string(m.generation));
  }
  std::string operator()(const TakeReply& m) const {
    return std::format("take term {}: {}", m.term.value, text_of(m.error));
  }
};

}  // namespace

std::string to_string(const Body& body) { return std::visit(BodyText{}, body); }

}  // namespace perdure::sim
